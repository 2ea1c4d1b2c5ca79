//! A result while it is written, and the mark that says so on disk. Readable by its owner alone: names of functions are
//! the business of whoever runs the pod.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What one result may take: more than a worker makes of the largest budget.
const RESULT_BYTES: u64 = 32 << 20;
/// Bytes of a name as a file's; with what is put behind it, a file system takes 255.
const NAME_BYTES: usize = 180;

/// A result that is being written. What is not kept is gone when it is dropped.
pub struct Making {
    path: PathBuf,
    /// Tells it from another of the same name.
    number: u64,
    /// The last text that was whole.
    whole: Option<u64>,
    /// The text that is being written, and how long it is.
    text: Option<(File, u64)>,
    svg: Option<(File, u64)>,
}

impl Making {
    /// Nothing is written yet. `path` is that of the result without its extension.
    pub(super) fn new(path: PathBuf, number: u64) -> Self {
        Self { path, number, whole: None, text: None, svg: None }
    }

    /// Some of the folded stacks.
    pub fn folded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.within(bytes)?;
        if self.text.is_none() {
            self.text = Some((create(&self.part("text"))?, 0));
        }
        self.text.as_mut().map_or(Ok(()), |text| append(text, bytes))
    }

    /// The folded stacks so far are a whole text, which takes the place of one before it.
    pub fn whole(&mut self) -> io::Result<()> {
        let (_, length) = match self.text.take() {
            Some(text) => text,
            None => (create(&self.part("text"))?, 0),
        };
        fs::rename(self.part("text"), self.part("folded"))?;
        self.whole = Some(length);
        Ok(())
    }

    /// Some of the picture.
    pub fn svg(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.within(bytes)?;
        if self.svg.is_none() {
            self.svg = Some((create(&self.part("svg"))?, 0));
        }
        self.svg.as_mut().map_or(Ok(()), |svg| append(svg, bytes))
    }

    /// The picture will not be whole: it is left out.
    pub fn without_picture(&mut self) {
        if self.svg.take().is_some() {
            let _ = fs::remove_file(self.part("svg"));
        }
    }

    /// Puts what is whole in the place of a result; how long its text and its picture are.
    pub(super) fn settle(mut self) -> io::Result<(u64, u64)> {
        if self.whole.is_none() {
            self.text = None;
            self.whole()?;
        }
        let svg = match self.svg.take() {
            Some((_, length)) => length,
            None => create(&self.part("svg")).map(|_| 0)?,
        };
        for what in ["folded", "svg"] {
            fs::rename(self.part(what), self.path.with_extension(what))?;
        }
        Ok((self.whole.unwrap_or_default(), svg))
    }

    fn part(&self, what: &str) -> PathBuf {
        self.path.with_extension(format!("{}.{what}.part", self.number))
    }

    fn within(&self, more: &[u8]) -> io::Result<()> {
        let length = |file: &Option<(File, u64)>| file.as_ref().map_or(0, |(_, length)| *length);
        // A whole text leaves when the next one is whole.
        let all = length(&self.text) + length(&self.svg) + more.len() as u64;
        if all > RESULT_BYTES {
            return Err(io::Error::other(format!("a result above {RESULT_BYTES} bytes")));
        }
        Ok(())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        for what in ["text", "folded", "svg"] {
            // Most were never made, or are kept.
            let _ = fs::remove_file(self.part(what));
        }
    }
}

fn append((file, length): &mut (File, u64), bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    *length += bytes.len() as u64;
    Ok(())
}

/// Says that a profile runs, and how far it is: the next agent knows by it what this one has lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mark {
    /// `namespace/name` of the AppProfile.
    pub(super) name: String,
    /// Which of those that had the name.
    pub(super) expires_at: Timestamp,
    /// Samples so far, lost ones and those of other agents before included.
    pub(super) samples: u64,
}

/// Where results are.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // An agent before this one may have made it.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    create(Path::new(&part)).and_then(|mut file| file.write_all(bytes))?;
    fs::rename(part, path)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}

/// `namespace/name` as a file's name; the last part stands for an extension, which is put in the place of it.
pub(super) fn file_name(name: &str) -> String {
    let clean = |letter: char| if letter.is_ascii_alphanumeric() || "-._".contains(letter) { letter } else { '@' };
    let mut clean: String = name.chars().map(clean).collect();
    if clean.len() > NAME_BYTES {
        clean.truncate(NAME_BYTES);
        let digest = Sha256::digest(name.as_bytes());
        clean.extend(digest.iter().take(8).map(|byte| format!("{byte:02x}")));
    }
    format!("{clean}.x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(making: Making, folder: &Path) -> (String, String) {
        making.settle().unwrap();
        let read = |what| fs::read_to_string(folder.join("a").with_extension(what)).unwrap();
        (read("folded"), read("svg"))
    }

    #[test]
    fn a_text_takes_the_place_of_the_one_before_it_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut making = Making::new(folder.path().join("a.x"), 1);
        making.folded(b"[app] 7\n").unwrap();
        making.whole().unwrap();
        making.folded(b"ma").unwrap();
        assert_eq!(written(making, folder.path()), ("[app] 7\n".into(), String::new()));

        let mut making = Making::new(folder.path().join("a.x"), 2);
        for text in [b"[app] 7\n".as_slice(), b"main 7\n"] {
            making.folded(text).unwrap();
            making.whole().unwrap();
        }
        making.svg(b"<svg/>").unwrap();
        assert_eq!(written(making, folder.path()), ("main 7\n".into(), "<svg/>".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn nothing_stays_of_what_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut making = Making::new(folder.path().join("a.x"), 1);
        making.folded(b"[app] 7\n").unwrap();
        making.whole().unwrap();
        making.svg(b"<sv").unwrap();
        drop(making);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_longest_name_is_a_files_name_and_no_other_long_names() {
        let long = |end: &str| format!("{}/{}{end}", "n".repeat(63), "p".repeat(252));
        assert_ne!(file_name(&long("a")), file_name(&long("b")));
        let folder = tempfile::tempdir().unwrap();
        Making::new(folder.path().join(file_name(&long("a"))), u64::MAX).settle().unwrap();
    }
}
