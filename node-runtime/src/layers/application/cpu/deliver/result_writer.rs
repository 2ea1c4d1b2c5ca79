//! Writes the files of a result. Only the agent's user may read them: function names are confidential to the owner of the pod.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest, Sha256};

/// Limit of one result: more than a worker makes of the largest budget.
const RESULT_MAX: u64 = 32 << 20;
/// Limit of one result that the disk refuses: it takes the agent's memory.
pub(super) const IN_MEMORY_MAX: u64 = 8 << 20;
/// Bytes of a profile's name in file names; with the suffixes they stay below the 255 of most file systems.
const FILE_NAME_MAX: usize = 180;

/// A result that is being written. Dropping it before `commit` removes its files.
pub struct ResultWriter {
    /// The path of the result, with an extension that is replaced.
    path: PathBuf,
    /// Tells it from another writer of the same name.
    number: u64,
    /// The last complete text.
    complete: Option<PartFile>,
    /// The text that is being written.
    text: Option<PartFile>,
    svg: Option<PartFile>,
    /// Why parts are in memory.
    refused: Option<io::Error>,
}

/// What `commit` has made.
pub(super) struct Committed {
    pub(super) folded_bytes: u64,
    pub(super) svg_bytes: u64,
    /// The result is not on the disk.
    pub(super) in_memory: Option<ResultInMemory>,
}

pub(super) struct ResultInMemory {
    pub(super) folded: File,
    pub(super) svg: File,
    /// Why it is not on the disk.
    pub(super) error: io::Error,
}

/// A file on the disk, or in memory if the disk refuses it.
struct PartFile {
    file: File,
    length: u64,
    in_memory: bool,
}

impl ResultWriter {
    pub(super) fn new(path: PathBuf, number: u64) -> Self {
        Self { path, number, complete: None, text: None, svg: None, refused: None }
    }

    /// Appends to the folded stacks.
    pub fn write_folded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_limit(bytes)?;
        let text = self.text.take();
        self.text = Some(self.append(text, "text", bytes)?);
        Ok(())
    }

    /// The folded stacks written so far are a complete text, which replaces an earlier one.
    pub fn complete_folded(&mut self) -> io::Result<()> {
        let text = self.text.take();
        let mut text = self.append(text, "text", &[])?;
        if !text.in_memory
            && let Err(error) = fs::rename(self.part("text"), self.part("folded"))
        {
            text.move_to_memory()?;
            self.refused = Some(error);
        }
        self.complete = Some(text);
        Ok(())
    }

    /// Appends to the picture.
    pub fn write_svg(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_limit(bytes)?;
        let svg = self.svg.take();
        self.svg = Some(self.append(svg, "svg", bytes)?);
        Ok(())
    }

    /// Removes an incomplete picture.
    pub fn discard_svg(&mut self) {
        if self.svg.take().is_some() {
            let _ = fs::remove_file(self.part("svg"));
        }
    }

    /// Moves the last complete text and the picture to their final names. If the disk refuses, they stay in memory.
    pub(super) fn commit(mut self) -> io::Result<Committed> {
        if self.complete.is_none() {
            self.text = None;
            self.complete_folded()?;
        }
        let svg = self.svg.take();
        let (mut svg, folded) = (self.append(svg, "svg", &[])?, self.complete.take());
        let mut folded = folded.ok_or_else(|| io::Error::other("a result without a text"))?;
        let (folded_bytes, svg_bytes) = (folded.length, svg.length);
        let in_memory = match self.move_to_final_names(&folded, &svg) {
            Ok(()) => None,
            Err(error) => {
                folded.move_to_memory()?;
                svg.move_to_memory()?;
                Some(ResultInMemory { folded: folded.file, svg: svg.file, error })
            }
        };
        Ok(Committed { folded_bytes, svg_bytes, in_memory })
    }

    fn move_to_final_names(&mut self, folded: &PartFile, svg: &PartFile) -> io::Result<()> {
        if folded.in_memory || svg.in_memory {
            return Err(self.refused.take().unwrap_or_else(|| io::Error::other("the disk refused it")));
        }
        fs::rename(self.part("folded"), self.path.with_extension("folded"))?;
        fs::rename(self.part("svg"), self.path.with_extension("svg")).inspect_err(|_| {
            // A text without its picture is no result.
            let _ = fs::remove_file(self.path.with_extension("folded"));
        })
    }

    /// Appends to a part, which is created if there is none. A part that the disk refuses goes on in memory.
    fn append(&mut self, part: Option<PartFile>, what: &str, bytes: &[u8]) -> io::Result<PartFile> {
        let created = match part {
            Some(part) => Ok(part),
            None => create(&self.part(what)).map(|file| PartFile { file, length: 0, in_memory: false }),
        };
        let mut part = match created {
            Ok(part) => part,
            Err(error) => {
                self.refused = Some(error);
                PartFile::in_memory()?
            }
        };
        if let Err(error) = part.file.write_all(bytes) {
            if part.in_memory {
                return Err(error);
            }
            part.move_to_memory()?;
            // Makes room for others.
            let _ = fs::remove_file(self.part(what));
            self.refused = Some(error);
            part.file.write_all(bytes)?;
        }
        part.length += bytes.len() as u64;
        Ok(part)
    }

    fn part(&self, what: &str) -> PathBuf {
        self.path.with_extension(format!("{}.{what}.part", self.number))
    }

    fn check_limit(&self, more: &[u8]) -> io::Result<()> {
        let parts = || [&self.text, &self.svg].into_iter().flatten();
        // A complete text is not counted: the next one replaces it.
        let total = parts().map(|part| part.length).sum::<u64>() + more.len() as u64;
        let limit = if parts().any(|part| part.in_memory) { IN_MEMORY_MAX } else { RESULT_MAX };
        if total > limit {
            return Err(io::Error::other(format!("a result above {limit} bytes")));
        }
        Ok(())
    }
}

impl PartFile {
    fn in_memory() -> io::Result<Self> {
        Ok(Self { file: memfd_create(c"profile", MemfdFlags::CLOEXEC)?.into(), length: 0, in_memory: true })
    }

    /// Copies what was written. The file on the disk is the caller's to remove.
    fn move_to_memory(&mut self) -> io::Result<()> {
        if self.in_memory {
            return Ok(());
        }
        if self.length > IN_MEMORY_MAX {
            return Err(io::Error::other(format!("a result above {IN_MEMORY_MAX} bytes that cannot be written")));
        }
        let mut memory = Self::in_memory()?;
        self.file.seek(SeekFrom::Start(0))?;
        memory.length = io::copy(&mut (&self.file).take(self.length), &mut memory.file)?;
        *self = memory;
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

/// Creates the folder of results. Only the agent's user may read it.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // A previous agent may have created it with another mode.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Writes a file completely or not at all.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_from(path, &mut &*bytes)
}

/// The same with the rest of another file.
pub(super) fn write_from(path: &Path, source: &mut impl Read) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let written = create(part).and_then(|mut file| io::copy(source, &mut file)).and_then(|_| fs::rename(part, path));
    written.inspect_err(|_| drop(fs::remove_file(part)))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).write(true).truncate(true).mode(0o600).open(path)
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
        assert!(writer.commit().unwrap().in_memory.is_none());
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
    fn result_that_the_disk_refuses_goes_on_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ResultWriter::new(folder.path().join("gone/a.x"), 1);
        for text in [b"[app] 7\n".as_slice(), b"main 7\n"] {
            writer.write_folded(text).unwrap();
            writer.complete_folded().unwrap();
        }
        writer.write_svg(b"<svg/>").unwrap();
        let committed = writer.commit().unwrap();
        assert_eq!((committed.folded_bytes, committed.svg_bytes), (7, 6));
        let ResultInMemory { mut folded, error, .. } = committed.in_memory.unwrap();
        let mut text = String::new();
        folded.seek(SeekFrom::Start(0)).unwrap();
        folded.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), error.kind()), ("main 7\n", io::ErrorKind::NotFound));
    }

    #[test]
    fn result_in_memory_is_smaller_than_one_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ResultWriter::new(folder.path().join("gone/a.x"), 1);
        let chunk = vec![0; 1 << 20];
        let written = (0..64).take_while(|_| writer.write_folded(&chunk).is_ok()).count();
        assert_eq!(written, 8);
    }

    #[test]
    fn long_names_get_distinct_file_names() {
        let long = |end: &str| format!("{}/{}{end}", "n".repeat(63), "p".repeat(252));
        assert_ne!(file_name(&long("a")), file_name(&long("b")));
        let folder = tempfile::tempdir().unwrap();
        ResultWriter::new(folder.path().join(file_name(&long("a"))), u64::MAX).commit().unwrap();
    }
}
