//! `events.log`, renamed to `events-<time>.log` at its size limit; the newest of those are kept. Readable by its owner
//! alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use trilobite_crds::node::FileExport;

use super::sink::Sink;

const NAME: &str = "events.log";

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Size of a file and number of closed files; may change while the file is open.
#[derive(Clone)]
pub(super) struct RotationLimits(Arc<Mutex<FileExport>>);

pub(super) struct RotatedFile {
    folder: PathBuf,
    limits: RotationLimits,
    file: File,
    size: u64,
}

impl RotationLimits {
    pub(super) fn new(limits: &FileExport) -> Self {
        Self(Arc::new(Mutex::new(limits.clone())))
    }

    pub(super) fn set(&self, limits: &FileExport) {
        self.0.lock().clone_from(limits);
    }

    /// Bytes of a file, and number of closed files.
    fn get(&self) -> (u64, usize) {
        let FileExport { max_size_mb, max_backups } = self.0.lock().clone();
        (u64::from(max_size_mb.max(1)) << 20, usize::try_from(max_backups).unwrap_or(usize::MAX))
    }
}

impl RotatedFile {
    /// Continues the file of an earlier agent, and ends its last line if it is incomplete.
    pub(super) fn open(folder: &Path, limits: RotationLimits) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut file = open(folder)?;
        let mut size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            size += 1;
        }
        Ok(Self { folder: folder.to_owned(), limits, file, size })
    }

    /// Another program has moved or removed the file, so that lines would be written to a place where no reader looks.
    fn was_moved(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        Ok(match fs::symlink_metadata(path(&self.folder)) {
            Ok(there) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        })
    }

    fn rotate(&mut self, backups: usize) -> io::Result<()> {
        let time = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S.%9f");
        match fs::rename(path(&self.folder), self.folder.join(format!("events-{time}.log"))) {
            // Another program has renamed it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = open(&self.folder)?;
        self.size = 0;
        // The names sort by time.
        let mut closed: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("events-") && name.ends_with(".log")) {
                closed.push(entry.path());
            }
        }
        closed.sort();
        let surplus = closed.len().saturating_sub(backups);
        closed.iter().take(surplus).try_for_each(fs::remove_file)
    }
}

impl Sink for RotatedFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.was_moved()? {
            *self = Self::open(&self.folder, self.limits.clone())?;
        }
        let (limit, backups) = self.limits.get();
        let length = lines.len() as u64;
        if self.size > 0 && self.size + length > limit {
            self.rotate(backups)?;
        }
        if let Err(error) = self.file.write_all(lines) {
            // Removes an incomplete line.
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += length;
        Ok(())
    }
}

fn open(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{super::sink::write_or_reopen, *};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("trilobite-export-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn limits() -> RotationLimits {
        RotationLimits::new(&FileExport { max_size_mb: 1, max_backups: 2 })
    }

    #[test]
    fn file_is_rotated_at_its_size_and_the_oldest_are_removed() {
        let folder = folder("rotate");
        let mut file = RotatedFile::open(&folder, limits()).unwrap();
        let line = [&[b'x'; (1 << 20) - 1][..], b"\n"].concat();
        let mut first = String::new();
        for round in 0..5 {
            file.write(&line).unwrap();
            if round == 1 {
                first = names(&folder)[0].clone();
            }
        }
        let found = names(&folder);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(!found.contains(&first));
        for name in &found {
            let about = fs::metadata(folder.join(name)).unwrap();
            assert_eq!((about.len(), about.permissions().mode() & 0o777), (1 << 20, 0o600));
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn incomplete_line_of_a_killed_agent_is_ended() {
        let folder = folder("torn");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(NAME), "{\"half").unwrap();
        let mut file = RotatedFile::open(&folder, limits()).unwrap();
        file.write(b"{}\n").unwrap();
        assert_eq!(fs::read_to_string(folder.join(NAME)).unwrap(), "{\"half\n{}\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn moved_or_removed_file_is_created_again() {
        let folder = folder("moved");
        let mut file = RotatedFile::open(&folder, limits()).unwrap();
        file.write(b"first\n").unwrap();
        fs::rename(folder.join(NAME), folder.join("elsewhere")).unwrap();
        file.write(b"second\n").unwrap();
        assert_eq!(fs::read_to_string(folder.join(NAME)).unwrap(), "second\n");
        fs::remove_dir_all(&folder).unwrap();
        file.write(b"third\n").unwrap();
        assert_eq!(fs::read_to_string(folder.join(NAME)).unwrap(), "third\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn writing_goes_on_once_the_path_is_free() {
        let folder = folder("again");
        let open = || RotatedFile::open(&folder, limits());
        let mut sink = None;
        write_or_reopen(&mut sink, open, b"first\n").unwrap();
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "in the way").unwrap();
        assert!(write_or_reopen(&mut sink, open, b"second\n").is_err());
        fs::remove_file(&folder).unwrap();
        write_or_reopen(&mut sink, open, b"third\n").unwrap();
        assert_eq!(fs::read_to_string(folder.join(NAME)).unwrap(), "third\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn symbolic_link_is_not_followed() {
        let folder = folder("link");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join(NAME)).unwrap();
        assert!(RotatedFile::open(&folder, limits()).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
