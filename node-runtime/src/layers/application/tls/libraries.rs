//! The shared libraries of TLS in the file system of a container, whether a process has them mapped or not: a client that runs for a
//! moment, e.g. curl in a script, is read from its first call on.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, fstat, major, minor};

use crate::layers::application::mapped_code::{FileKey, ProcessFolder, open_for_reading, open_path_below, open_root};

/// Where distributions have them.
const FOLDERS: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib64",
    "usr/local/lib",
];
const NAMES: [&str; 2] = ["libssl.so.3", "libssl.so.1.1"];

/// The libraries below a process's root directory, opened.
pub(super) fn open_of_root(pid: u32) -> Vec<(FileKey, OwnedFd)> {
    let Ok(root) = open_root(&ProcessFolder::of_process(pid)) else { return Vec::new() };
    let paths = FOLDERS.iter().flat_map(|folder| NAMES.iter().map(move |name| format!("{folder}/{name}")));
    paths.filter_map(|path| open(&root, &path)).collect()
}

fn open(root: impl AsFd, path: &str) -> Option<(FileKey, OwnedFd)> {
    let found = open_path_below(root, path).ok()?;
    let stat = fstat(&found).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let key = FileKey::Inode { device: (major(stat.st_dev), minor(stat.st_dev)), inode: stat.st_ino };
    Some((key, open_for_reading(&found).ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    #[test]
    fn library_is_a_regular_file_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libssl.so.3.0"), "elf").unwrap();
        std::os::unix::fs::symlink("/usr/lib/libssl.so.3.0", folder.join("libssl.so.3")).unwrap();
        nix::unistd::mkfifo(&folder.join("libssl.so.1.1"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fd = openat(CWD, root.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(open(&fd, "usr/lib/libssl.so.3").is_some());
        assert!(open(&fd, "usr/lib/libssl.so.1.1").is_none() && open(&fd, "usr/lib64/libssl.so.3").is_none());
    }
}
