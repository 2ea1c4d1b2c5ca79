//! The code that a process has mapped, and the files it comes from, opened so that a pod cannot make the agent open
//! anything else: below the process's own root, no device, no pipe, and only the very file that is mapped.
//! Not here: what is inside those files. The agent never reads them.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, openat, openat2};

/// Pieces of code of one process that are looked at.
const PIECES_MAX: usize = 1024;
/// File systems on which a file's own device number is not the one that mappings show.
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
const BTRFS_SUPER_MAGIC: i64 = 0x9123_683e;

/// Names a file, as `/proc/PID/maps` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileKey {
    /// Device and inode.
    Inode {
        /// Major and minor number.
        device: (u32, u32),
        /// Inode.
        inode: u64,
    },
    /// No file: `[vdso]`, or `[anon]` for code made at run time.
    Named(String),
}

/// A piece of code of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// Which file.
    pub file: FileKey,
    /// The path in the process's own root, or what there is instead.
    pub path: String,
}

impl Piece {
    /// Last part of the path.
    pub fn name(&self) -> &str {
        self.path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The executable pieces of a process; none where it is gone.
pub fn pieces(pid: u32) -> io::Result<Vec<Piece>> {
    Ok(parse(&fs::read_to_string(format!("/proc/{pid}/maps"))?))
}

fn parse(maps: &str) -> Vec<Piece> {
    maps.lines().filter_map(line).take(PIECES_MAX).collect()
}

fn line(line: &str) -> Option<Piece> {
    let (range, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    let (device, rest) = rest.split_once(' ')?;
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (high, low) = device.split_once(':')?;
    let path = path.trim_start();
    let inode: u64 = inode.parse().ok()?;
    let file = match (inode, path) {
        (0, "") => FileKey::Named("[anon]".to_owned()),
        (0, special) => FileKey::Named(special.to_owned()),
        _ => FileKey::Inode { device: (hex(high)? as u32, hex(low)? as u32), inode },
    };
    let path = if path.is_empty() { "[anon]".to_owned() } else { path.to_owned() };
    Some(Piece { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, file, path })
}

/// The root directory of a process, as it sees it.
pub fn root(pid: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())?)
}

/// Opens the file of a piece below a root. An error where it is not there any more, or another file is.
pub fn open(root: impl AsFd, piece: &Piece) -> io::Result<OwnedFd> {
    let FileKey::Inode { device, inode } = piece.file else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no file"));
    };
    // NONBLOCK: a pipe that a pod puts in the file's place does not keep the agent waiting.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let fd = openat2(root, piece.path.as_str(), flags, Mode::empty(), resolve)?;
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let same_device = (major(stat.st_dev), minor(stat.st_dev)) == device || device_is_hidden(fd.as_fd())?;
    if stat.st_ino != inode || !same_device {
        return Err(io::Error::other("another file than the one that is mapped"));
    }
    Ok(fd)
}

/// Mappings of an overlay show the file below it, and those of btrfs the device below its subvolumes: the inode has to do.
fn device_is_hidden(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = fstatfs(fd)?.f_type as i64;
    Ok(kind == OVERLAYFS_SUPER_MAGIC || kind == BTRFS_SUPER_MAGIC)
}

/// The process still is the one that a key named: its start, in ticks of 10 ms, as `/proc/PID/stat` rounds it.
pub fn started_at(pid: u32, ktime: u64) -> bool {
    const TICK_NS: u64 = 10_000_000;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name may hold anything, blanks and brackets too; what follows the last bracket is numbers.
    let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
    // The key holds the count of execs too, which is far below a tick, but may push it into the next.
    start.is_some_and(|start| (ktime / TICK_NS).abs_diff(start) <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
5500000000-5500001000 r--p 00000000 fe:01 1201                           /usr/bin/my app
5500001000-5500003000 r-xp 00001000 fe:01 1201                           /usr/bin/my app
7f0000000000-7f0000001000 r-xp 00026000 00:2f 77                         /lib/libc.so.6 (deleted)
7f1000000000-7f1000001000 rwxp 00000000 00:00 0
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
not a line
";

    #[test]
    fn only_code_is_taken_and_names_may_hold_blanks() {
        let pieces = parse(MAPS);
        let names: Vec<&str> = pieces.iter().map(Piece::name).collect();
        assert_eq!(names, ["my app", "libc.so.6", "[anon]", "[vdso]"]);
        assert_eq!(pieces[0].file, FileKey::Inode { device: (0xfe, 1), inode: 1201 });
        assert_eq!((pieces[0].start, pieces[0].end, pieces[0].offset), (0x5500001000, 0x5500003000, 0x1000));
    }

    #[test]
    fn ones_own_code_can_be_opened() {
        let me = std::process::id();
        let pieces = pieces(me).unwrap();
        let binary = pieces.iter().find(|piece| matches!(piece.file, FileKey::Inode { .. })).unwrap();
        open(root(me).unwrap(), binary).unwrap();
    }

    #[test]
    fn a_link_out_of_the_root_stays_inside_it() {
        let root = std::env::temp_dir().join(format!("code-root-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("app")).unwrap();
        let piece = Piece {
            start: 0,
            end: 1,
            offset: 0,
            file: FileKey::Inode { device: (0, 0), inode: 1 },
            path: "/app".into(),
        };
        let error =
            open(openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap(), &piece).unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn another_file_at_the_same_path_is_not_opened() {
        let me = std::process::id();
        let mut piece =
            pieces(me).unwrap().into_iter().find(|piece| matches!(piece.file, FileKey::Inode { .. })).unwrap();
        if let FileKey::Inode { inode, .. } = &mut piece.file {
            *inode += 1;
        }
        assert!(open(root(me).unwrap(), &piece).is_err());
    }

    #[test]
    fn a_device_or_pipe_in_the_files_place_is_not_opened() {
        let piece = Piece {
            start: 0,
            end: 1,
            offset: 0,
            file: FileKey::Inode { device: (0, 0), inode: 1 },
            path: "/dev/null".into(),
        };
        assert_eq!(open(root(std::process::id()).unwrap(), &piece).unwrap_err().to_string(), "not a regular file");
    }

    #[test]
    fn a_pid_that_was_given_to_another_process_is_noticed() {
        assert!(!started_at(std::process::id(), 1));
    }
}
