//! Lines through a FIFO to the container export-stdout of the agent's pod, which prints them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};

use nix::{errno::Errno, sys::stat::Mode, unistd::mkfifo};
use trilobite_export_stdout::CANCEL;

use super::sink::Sink;

pub(super) struct Fifo(File);

impl Fifo {
    /// Creates it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // Open for reading as well, so that what waits in it stays while the container restarts.
        let mut file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        if !file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is another file in place of the FIFO"));
        }
        // An earlier agent may have been killed inside of a line.
        file.write_all(&[CANCEL, b'\n'])?;
        Ok(Self(file))
    }
}

/// Removes a FIFO that no agent writes to any more, and its folder, which the kubelet makes as well.
pub(super) fn remove(path: &Path) {
    for removed in [fs::remove_file(path), path.parent().map_or(Ok(()), fs::remove_dir)] {
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "a FIFO or its folder could not be removed");
        }
    }
}

impl Sink for Fifo {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.0.write_all(lines)
    }
}

#[cfg(test)]
mod tests {
    use trilobite_export_stdout::LineBuffer;

    use super::*;

    #[test]
    fn container_prints_whole_lines_of_two_agents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export/events");
        let mut killed = Fifo::open(&path).unwrap();
        let mut container = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        killed.write(b"{\"one\":1}\n{\"torn").unwrap();
        drop(killed);
        Fifo::open(&path).unwrap().write(b"{\"two\":2}\n").unwrap();
        let mut printed = Vec::new();
        LineBuffer::default().copy_lines(&mut container, &mut printed).unwrap();
        assert_eq!(printed, b"{\"one\":1}\n{\"two\":2}\n");
        remove(&path);
        fs::create_dir(folder.path().join("export")).unwrap();
        remove(&path);
        remove(&path);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_file_in_its_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "kept").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(Fifo::open(&file).is_err() && Fifo::open(&link).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }
}
