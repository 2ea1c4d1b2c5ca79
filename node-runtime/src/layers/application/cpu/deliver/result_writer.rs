//! Writes the files of a result. Only the agent's user may read them: function names are confidential to the owner of the pod.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Limit of one result: more than a worker makes of the largest budget.
const RESULT_MAX: u64 = 32 << 20;
/// Bytes of a profile's name in file names; with the suffixes they stay below the 255 of most file systems.
const FILE_NAME_MAX: usize = 180;

/// A result that is being written. Dropping it before `commit` removes its files.
pub struct ResultWriter {
    /// The path of the result, with an extension that is replaced.
    path: PathBuf,
    /// Tells it from another writer of the same name.
    number: u64,
    /// Length of the last complete text.
    complete: Option<u64>,
    /// The text that is being written, and its length.
    text: Option<(File, u64)>,
    svg: Option<(File, u64)>,
}

impl ResultWriter {
    pub(super) fn new(path: PathBuf, number: u64) -> Self {
        Self { path, number, complete: None, text: None, svg: None }
    }

    /// Appends to the folded stacks.
    pub fn write_folded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_limit(bytes)?;
        if self.text.is_none() {
            self.text = Some((create(&self.part("text"))?, 0));
        }
        self.text.as_mut().map_or(Ok(()), |text| append(text, bytes))
    }

    /// The folded stacks written so far are a complete text, which replaces an earlier one.
    pub fn complete_folded(&mut self) -> io::Result<()> {
        let (_, length) = match self.text.take() {
            Some(text) => text,
            None => (create(&self.part("text"))?, 0),
        };
        fs::rename(self.part("text"), self.part("folded"))?;
        self.complete = Some(length);
        Ok(())
    }

    /// Appends to the picture.
    pub fn write_svg(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_limit(bytes)?;
        if self.svg.is_none() {
            self.svg = Some((create(&self.part("svg"))?, 0));
        }
        self.svg.as_mut().map_or(Ok(()), |svg| append(svg, bytes))
    }

    /// Removes an incomplete picture.
    pub fn discard_svg(&mut self) {
        if self.svg.take().is_some() {
            let _ = fs::remove_file(self.part("svg"));
        }
    }

    /// Moves the last complete text and the picture to their final names. Returns their lengths.
    pub(super) fn commit(mut self) -> io::Result<(u64, u64)> {
        if self.complete.is_none() {
            self.text = None;
            self.complete_folded()?;
        }
        let svg = match self.svg.take() {
            Some((_, length)) => length,
            None => create(&self.part("svg")).map(|_| 0)?,
        };
        for what in ["folded", "svg"] {
            fs::rename(self.part(what), self.path.with_extension(what))?;
        }
        Ok((self.complete.unwrap_or_default(), svg))
    }

    fn part(&self, what: &str) -> PathBuf {
        self.path.with_extension(format!("{}.{what}.part", self.number))
    }

    fn check_limit(&self, more: &[u8]) -> io::Result<()> {
        let length = |file: &Option<(File, u64)>| file.as_ref().map_or(0, |(_, length)| *length);
        // A complete text is not counted: the next one replaces it.
        let total = length(&self.text) + length(&self.svg) + more.len() as u64;
        if total > RESULT_MAX {
            return Err(io::Error::other(format!("a result above {RESULT_MAX} bytes")));
        }
        Ok(())
    }
}

impl Drop for ResultWriter {
    fn drop(&mut self) {
        for what in ["text", "folded", "svg"] {
            // Fails for files that were not created, or are committed.
            let _ = fs::remove_file(self.part(what));
        }
    }
}

fn append((file, length): &mut (File, u64), bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    *length += bytes.len() as u64;
    Ok(())
}

/// Creates the folder of results. Only the agent's user may read it.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // A previous agent may have created it with another mode.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Writes a file completely or not at all.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    create(Path::new(&part)).and_then(|mut file| file.write_all(bytes))?;
    fs::rename(part, path)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}

/// The file name for `namespace/name`, with an extension to replace.
pub(super) fn file_name(name: &str) -> String {
    let safe = |letter: char| if letter.is_ascii_alphanumeric() || "-._".contains(letter) { letter } else { '@' };
    let mut file_name: String = name.chars().map(safe).collect();
    if file_name.len() > FILE_NAME_MAX {
        file_name.truncate(FILE_NAME_MAX);
        let digest = Sha256::digest(name.as_bytes());
        file_name.extend(digest.iter().take(8).map(|byte| format!("{byte:02x}")));
    }
    format!("{file_name}.x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(writer: ResultWriter, folder: &Path) -> (String, String) {
        writer.commit().unwrap();
        let read = |what| fs::read_to_string(folder.join("a").with_extension(what)).unwrap();
        (read("folded"), read("svg"))
    }

    #[test]
    fn text_replaces_the_previous_one_only_when_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ResultWriter::new(folder.path().join("a.x"), 1);
        writer.write_folded(b"[app] 7\n").unwrap();
        writer.complete_folded().unwrap();
        writer.write_folded(b"ma").unwrap();
        assert_eq!(commit(writer, folder.path()), ("[app] 7\n".into(), String::new()));

        let mut writer = ResultWriter::new(folder.path().join("a.x"), 2);
        for text in [b"[app] 7\n".as_slice(), b"main 7\n"] {
            writer.write_folded(text).unwrap();
            writer.complete_folded().unwrap();
        }
        writer.write_svg(b"<svg/>").unwrap();
        assert_eq!(commit(writer, folder.path()), ("main 7\n".into(), "<svg/>".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn files_of_an_uncommitted_result_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ResultWriter::new(folder.path().join("a.x"), 1);
        writer.write_folded(b"[app] 7\n").unwrap();
        writer.complete_folded().unwrap();
        writer.write_svg(b"<sv").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn long_names_get_distinct_file_names() {
        let long = |end: &str| format!("{}/{}{end}", "n".repeat(63), "p".repeat(252));
        assert_ne!(file_name(&long("a")), file_name(&long("b")));
        let folder = tempfile::tempdir().unwrap();
        ResultWriter::new(folder.path().join(file_name(&long("a"))), u64::MAX).commit().unwrap();
    }
}
