//! Executable mappings of a process, and the files behind them. A pod cannot make the agent open anything else: files are opened
//! below the process's own root or by the process's reference to them, and only the regular file that is mapped.
//! Not here: the contents of those files, which the agent never reads.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, openat, openat2};
use trilobite_worker_wire::names::sanitize_name;

/// Executable mappings that are read of one process.
const MAPPINGS_MAX: usize = 1024;
/// Bytes of `/proc/PID/maps` that are read: a process may make it as long as it likes.
const MAPS_MAX: u64 = 4 << 20;
/// File systems on which the device number of a file differs from the one that `/proc/PID/maps` shows.
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
const BTRFS_SUPER_MAGIC: i64 = 0x9123_683e;

/// Identity of a mapped file, as `/proc/PID/maps` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FileKey {
    Inode {
        /// Major and minor number.
        device: (u32, u32),
        inode: u64,
    },
    /// Not a file: `[vdso]`, or `[anon]` for code that was made at run time.
    Named(String),
}

/// An executable mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeMapping {
    pub start: u64,
    /// First address behind the mapping.
    pub end: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    pub file: FileKey,
    /// The path in the process's own root, or e.g. `[vdso]`; any bytes.
    pub path: OsString,
}

impl CodeMapping {
    /// Last part of the path, sanitized.
    pub(super) fn file_name(&self) -> String {
        let path = self.path.as_bytes();
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        sanitize_name(&String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)))
    }
}

/// The first `MAPPINGS_MAX` executable mappings of a process; an error if it has ended.
pub(super) fn code_mappings(pid: u32) -> io::Result<Vec<CodeMapping>> {
    let mut maps = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAPS_MAX).read_to_end(&mut maps)?;
    Ok(parse(&maps))
}

/// Line by line, so that an unusual path affects its own line alone. A last line that `MAPS_MAX` has cut is left out.
fn parse(maps: &[u8]) -> Vec<CodeMapping> {
    let complete = maps.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    maps[..complete].split(|byte| *byte == b'\n').filter_map(parse_line).take(MAPPINGS_MAX).collect()
}

fn parse_line(line: &[u8]) -> Option<CodeMapping> {
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
    Some(CodeMapping { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, file, path })
}

/// The root directory of a process.
pub(super) fn open_root(pid: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())?)
}

/// Opens the file of a mapping: below the process's root, or, if it was deleted or replaced, by the process's reference to it.
pub(super) fn open_mapped_file(pid: u32, root: impl AsFd, mapping: &CodeMapping) -> io::Result<OwnedFd> {
    open_below(root, mapping).or_else(|error| {
        // map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, which the agent has with `runtime.allowSysAdmin`.
        let references = ["exe".to_owned(), format!("map_files/{:x}-{:x}", mapping.start, mapping.end)];
        let open_reference = |reference: &String| {
            let path = format!("/proc/{pid}/{reference}");
            open_if_mapped(&openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?, mapping)
        };
        references.iter().find_map(|reference| open_reference(reference).ok()).ok_or(error)
    })
}

/// Opens the file of a mapping below a root directory. An error if its path is gone, or leads to another file.
fn open_below(root: impl AsFd, mapping: &CodeMapping) -> io::Result<OwnedFd> {
    // O_PATH first: opening a device or a pipe has side effects.
    let (flags, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
    open_if_mapped(&openat2(root, mapping.path.as_os_str(), flags, Mode::empty(), resolve)?, mapping)
}

/// Opens the file behind an O_PATH descriptor for reading, if it is the file of the mapping.
fn open_if_mapped(path: &OwnedFd, mapping: &CodeMapping) -> io::Result<OwnedFd> {
    let FileKey::Inode { device, inode } = mapping.file else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no file"));
    };
    let stat = fstat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let same_device = (major(stat.st_dev), minor(stat.st_dev)) == device || device_may_differ(path.as_fd())?;
    if stat.st_ino != inode || !same_device {
        return Err(io::Error::other("another file than the one that is mapped"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // By the descriptor, because the path may lead elsewhere by now.
    Ok(openat(CWD, format!("/proc/self/fd/{}", path.as_raw_fd()), flags, Mode::empty())?)
}

/// `/proc/PID/maps` shows the lower file of an overlay, and the device below the subvolumes of btrfs: there the inode alone is
/// compared.
fn device_may_differ(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = fstatfs(fd)?.f_type as i64;
    Ok(kind == OVERLAYFS_SUPER_MAGIC || kind == BTRFS_SUPER_MAGIC)
}

/// The process started at `ktime`, in ticks of 10 ms as `/proc/PID/stat` rounds it; false if its pid was reused.
pub(super) fn process_started_at(pid: u32, ktime: u64) -> bool {
    const TICK_NS: u64 = 10_000_000;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The process name may contain spaces and brackets; behind the last bracket are numbers alone.
    let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
    // `ktime` includes the count of execs, which is far below a tick but may reach the next one.
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
    fn only_executable_mappings_are_read_and_paths_may_have_spaces() {
        let mappings = parse(MAPS);
        let names: Vec<String> = mappings.iter().map(CodeMapping::file_name).collect();
        assert_eq!(names, ["my app", "libc.so.6", "[anon]", "\u{fffd}\u{fffd}.so", "[vdso]"]);
        assert_eq!(mappings[0].file, FileKey::Inode { device: (0xfe, 1), inode: 1201 });
        assert_eq!((mappings[0].start, mappings[0].end, mappings[0].offset), (0x5500001000, 0x5500003000, 0x1000));
    }

    #[test]
    fn name_of_control_characters_is_sanitized() {
        let line = [b"1000-2000 r-xp 0 0:1 7 /tmp/".as_slice(), &[1; 4000], b"\n"].concat();
        let name = parse(&line)[0].file_name();
        assert!(name.starts_with(&"?".repeat(100)) && name.chars().count() == 128, "{name}");
    }

    #[test]
    fn own_code_can_be_opened() {
        let me = std::process::id();
        let mappings = code_mappings(me).unwrap();
        let binary = mappings.iter().find(|mapping| matches!(mapping.file, FileKey::Inode { .. })).unwrap();
        open_below(open_root(me).unwrap(), binary).unwrap();
    }

    #[test]
    fn link_out_of_the_root_stays_inside_it() {
        let root = std::env::temp_dir().join(format!("code-root-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("app")).unwrap();
        let mapping = CodeMapping {
            start: 0,
            end: 1,
            offset: 0,
            file: FileKey::Inode { device: (0, 0), inode: 1 },
            path: "/app".into(),
        };
        let error = open_below(openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap(), &mapping)
            .unwrap_err();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn deleted_binary_is_opened_by_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("gone");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let of_it = |mapping: &CodeMapping| mapping.path.as_bytes().windows(5).any(|part| part == b"/gone");
        let mapping = loop {
            if let Some(mapping) = code_mappings(child.id()).unwrap().into_iter().find(of_it) {
                break mapping;
            }
        };
        fs::remove_file(&program).unwrap();
        let (below, by_reference) = (
            open_below(open_root(child.id()).unwrap(), &mapping),
            open_mapped_file(child.id(), open_root(child.id()).unwrap(), &mapping),
        );
        let mut other = mapping.clone();
        other.file = FileKey::Inode { device: (0, 0), inode: 1 };
        let another = open_mapped_file(child.id(), open_root(child.id()).unwrap(), &other);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(below.is_err() && by_reference.is_ok() && another.is_err());
    }

    #[test]
    fn other_file_at_the_same_path_is_not_opened() {
        let me = std::process::id();
        let mut mapping = code_mappings(me)
            .unwrap()
            .into_iter()
            .find(|mapping| matches!(mapping.file, FileKey::Inode { .. }))
            .unwrap();
        if let FileKey::Inode { inode, .. } = &mut mapping.file {
            *inode += 1;
        }
        assert!(open_below(open_root(me).unwrap(), &mapping).is_err());
    }

    #[test]
    fn device_in_place_of_the_file_is_not_opened() {
        let mapping = CodeMapping {
            start: 0,
            end: 1,
            offset: 0,
            file: FileKey::Inode { device: (0, 0), inode: 1 },
            path: "/dev/null".into(),
        };
        assert_eq!(
            open_below(open_root(std::process::id()).unwrap(), &mapping).unwrap_err().to_string(),
            "not a regular file"
        );
    }

    #[test]
    fn pipe_in_place_of_the_file_is_not_even_opened() {
        let path = std::env::temp_dir().join(format!("code-pipe-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mapping = CodeMapping {
            start: 0,
            end: 1,
            offset: 0,
            file: FileKey::Inode { device: (0, 0), inode: 1 },
            path: path.clone().into(),
        };
        // Opening blocks until the other end is opened.
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs::OpenOptions::new().write(true).open(path)
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let refused = open_below(open_root(std::process::id()).unwrap(), &mapping).unwrap_err();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let still_waits = !writer.is_finished();
        let _reader = File::open(&path).unwrap();
        writer.join().unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(refused.to_string(), "not a regular file");
        assert!(still_waits);
    }

    #[test]
    fn reused_pid_is_noticed() {
        assert!(!process_started_at(std::process::id(), 1));
    }
}
