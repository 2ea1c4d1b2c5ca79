//! The code that a process has mapped, and the files it comes from, opened so that a pod cannot make the agent open
//! anything else: below the process's own root, or by the process's own hold on it, no device, no pipe, and only the very
//! file that is mapped.
//! Not here: what is inside those files. The agent never reads them.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use crate::worker::frame::clean;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, openat, openat2};

/// Pieces of code of one process that are looked at.
const PIECES_MAX: usize = 1024;
/// Bytes of a table of mappings that are read: a process may make it as long as it likes.
const MAPS_MAX: u64 = 4 << 20;
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
    /// The path in the process's own root, or what there is instead; any bytes.
    pub path: OsString,
}

impl Piece {
    /// Last part of the path, as it may stand in a frame and in a stack.
    pub fn name(&self) -> String {
        let path = self.path.as_bytes();
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        clean(&String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)))
    }
}

/// The executable pieces of a process, the first `PIECES_MAX` of them; none where it is gone.
pub fn pieces(pid: u32) -> io::Result<Vec<Piece>> {
    let mut maps = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAPS_MAX).read_to_end(&mut maps)?;
    Ok(parse(&maps))
}

/// Line by line, so that one strange path costs no other its name. What the limit has cut is no line.
fn parse(maps: &[u8]) -> Vec<Piece> {
    let whole = maps.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    maps[..whole].split(|byte| *byte == b'\n').filter_map(line).take(PIECES_MAX).collect()
}

fn line(line: &[u8]) -> Option<Piece> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let (range, permissions, offset, device, inode) = (word()?, word()?, word()?, word()?, word()?);
    let path = words.next().unwrap_or_default().trim_ascii_start();
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (high, low) = device.split_once(':')?;
    let inode: u64 = inode.parse().ok()?;
    let path = if path.is_empty() { b"[anon]" } else { path };
    let file = match inode {
        0 => FileKey::Named(String::from_utf8_lossy(path).into_owned()),
        _ => FileKey::Inode { device: (hex(high)? as u32, hex(low)? as u32), inode },
    };
    let path = OsStr::from_bytes(path).to_owned();
    Some(Piece { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, file, path })
}

/// The root directory of a process, as it sees it.
pub fn root(pid: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())?)
}

/// Opens the file of a piece of a process: below its root, or, where it was deleted or replaced, by what holds it still.
pub fn open_of(pid: u32, root: impl AsFd, piece: &Piece) -> io::Result<OwnedFd> {
    open(root, piece).or_else(|error| {
        // The second asks for a capability that the agent has where the stack says `allowSysAdmin`.
        let holds = ["exe".to_owned(), format!("map_files/{:x}-{:x}", piece.start, piece.end)];
        let held = |hold: &String| {
            let found = openat(CWD, format!("/proc/{pid}/{hold}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            opened(&found, piece)
        };
        holds.iter().find_map(|hold| held(hold).ok()).ok_or(error)
    })
}

/// Opens the file of a piece below a root. An error where it is not there any more, or another file is.
pub fn open(root: impl AsFd, piece: &Piece) -> io::Result<OwnedFd> {
    // Found first, opened when it is known what it is: opening a device or a pipe does something.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    opened(&openat2(root, piece.path.as_os_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?, piece)
}

/// Opens what was found, if it is the file of the piece.
fn opened(found: &OwnedFd, piece: &Piece) -> io::Result<OwnedFd> {
    let FileKey::Inode { device, inode } = piece.file else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no file"));
    };
    let stat = fstat(found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let same_device = (major(stat.st_dev), minor(stat.st_dev)) == device || device_is_hidden(found.as_fd())?;
    if stat.st_ino != inode || !same_device {
        return Err(io::Error::other("another file than the one that is mapped"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Ours, whatever became of the path meanwhile.
    Ok(openat(CWD, format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty())?)
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

    const MAPS: &[u8] = b"\
5500000000-5500001000 r--p 00000000 fe:01 1201                           /usr/bin/my app
5500001000-5500003000 r-xp 00001000 fe:01 1201                           /usr/bin/my app
7f0000000000-7f0000001000 r-xp 00026000 00:2f 77                         /lib/libc.so.6 (deleted)
7f1000000000-7f1000001000 rwxp 00000000 00:00 0
7f2000000000-7f2000001000 r-xp 00000000 fe:01 1300                       /opt/\xff\xfe.so
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
not a line
7fff00000000-7fff00001000 r-xp 00000000 fe:01 1301                       /opt/cut";

    #[test]
    fn only_code_is_taken_and_names_may_hold_blanks() {
        let pieces = parse(MAPS);
        let names: Vec<String> = pieces.iter().map(Piece::name).collect();
        assert_eq!(names, ["my app", "libc.so.6", "[anon]", "\u{fffd}\u{fffd}.so", "[vdso]"]);
        assert_eq!(pieces[0].file, FileKey::Inode { device: (0xfe, 1), inode: 1201 });
        assert_eq!((pieces[0].start, pieces[0].end, pieces[0].offset), (0x5500001000, 0x5500003000, 0x1000));
    }

    #[test]
    fn a_name_of_control_characters_is_made_harmless_and_short() {
        let line = [b"1000-2000 r-xp 0 0:1 7 /tmp/".as_slice(), &[1; 4000], b"\n"].concat();
        let name = parse(&line)[0].name();
        assert!(name.starts_with(&"?".repeat(100)) && name.chars().count() == 128, "{name}");
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
    fn a_binary_that_was_deleted_is_opened_by_its_processs_hold_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("gone");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let of_it = |piece: &Piece| piece.path.as_bytes().windows(5).any(|part| part == b"/gone");
        let piece = loop {
            if let Some(piece) = pieces(child.id()).unwrap().into_iter().find(of_it) {
                break piece;
            }
        };
        fs::remove_file(&program).unwrap();
        let (below, held) =
            (open(root(child.id()).unwrap(), &piece), open_of(child.id(), root(child.id()).unwrap(), &piece));
        let mut other = piece.clone();
        other.file = FileKey::Inode { device: (0, 0), inode: 1 };
        let another = open_of(child.id(), root(child.id()).unwrap(), &other);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(below.is_err() && held.is_ok() && another.is_err());
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
    fn a_pipe_in_the_files_place_is_not_even_opened() {
        let path = std::env::temp_dir().join(format!("code-pipe-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let piece = Piece {
            start: 0,
            end: 1,
            offset: 0,
            file: FileKey::Inode { device: (0, 0), inode: 1 },
            path: path.clone().into(),
        };
        // It waits until somebody opens the other end.
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs::OpenOptions::new().write(true).open(path)
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let refused = open(root(std::process::id()).unwrap(), &piece).unwrap_err();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let still_waits = !writer.is_finished();
        let _reader = File::open(&path).unwrap();
        writer.join().unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(refused.to_string(), "not a regular file");
        assert!(still_waits);
    }

    #[test]
    fn a_pid_that_was_given_to_another_process_is_noticed() {
        assert!(!started_at(std::process::id(), 1));
    }
}
