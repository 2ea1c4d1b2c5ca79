//! Executable mappings of a process, and the files behind them. A pod cannot make the agent open anything else: files are opened
//! below the process's own root or by the process's reference to them, and only the regular file that is mapped.
//! Not here: the contents of those files, which the agent never reads; maps of code made at run time and the vDSO (`made_code.rs`).

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, openat, openat2};
use trilobite_worker_wire::{FileKind, names::sanitize_name};

use crate::kernel::proc_stat::{TICK_NS, start_ticks};

/// Executable mappings that are sent of one process.
const MAPPINGS_MAX: usize = 1024;
/// Bytes of `/proc/PID/maps` that are read: a process may make it as long as it likes.
const MAPS_MAX: u64 = 16 << 20;
/// Threads of a process without a first thread that are asked for its mappings.
const THREADS_MAX: usize = 1024;
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
    /// The map in which the process that started then names its code made at run time.
    PerfMap { pid: u32, ktime: u64 },
}

impl FileKey {
    pub(super) fn kind(&self) -> FileKind {
        match self {
            Self::Inode { .. } | Self::Named(_) => FileKind::Elf,
            Self::PerfMap { .. } => FileKind::PerfMap,
        }
    }
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

    /// Code that was made at run time: memory without a file, or a file in memory.
    pub(super) fn is_made_at_run_time(&self) -> bool {
        let in_memory = self.path.as_bytes().starts_with(b"/memfd:");
        in_memory || matches!(&self.file, FileKey::Named(name) if name == "[anon]" || name.starts_with("[anon:"))
    }

    /// The next mapping continues this one.
    fn continues_with(&self, next: &Self) -> bool {
        let offset_goes_on = match &self.file {
            FileKey::Inode { .. } => self.offset.checked_add(self.end - self.start) == Some(next.offset),
            FileKey::Named(_) | FileKey::PerfMap { .. } => true,
        };
        self.file == next.file && self.end == next.start && offset_goes_on
    }
}

/// The folder of a process in `/proc`, or of one of its threads: once the first thread has ended, its own folder shows no memory,
/// while the others run on.
#[derive(Clone, Debug)]
pub(super) struct ProcessFolder {
    path: PathBuf,
    /// Number of the thread.
    tid: u32,
}

impl ProcessFolder {
    pub(super) fn of_process(pid: u32) -> Self {
        Self { path: format!("/proc/{pid}").into(), tid: pid }
    }

    fn threads(pid: u32) -> impl Iterator<Item = Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let thread = move |name: OsString| {
            let tid: u32 = name.to_str()?.parse().ok()?;
            (tid != pid).then(|| Self { path: format!("/proc/{pid}/task/{tid}").into(), tid })
        };
        tasks.filter_map(move |entry| thread(entry.file_name())).take(THREADS_MAX)
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

/// The executable mappings of a process.
pub(super) struct ProcessCode {
    /// Where the rest of the process can be read.
    pub(super) folder: ProcessFolder,
    pub(super) mappings: Vec<CodeMapping>,
    /// Mappings above `MAPPINGS_MAX`, or behind `MAPS_MAX`.
    pub(super) dropped: u32,
}

/// The executable mappings of a process; an error if it has ended.
pub(super) fn code_mappings(pid: u32) -> io::Result<ProcessCode> {
    let code = read_mappings(ProcessFolder::of_process(pid))?;
    if !code.mappings.is_empty() {
        return Ok(code);
    }
    // A thread may end meanwhile.
    let mut of_threads = ProcessFolder::threads(pid).filter_map(|folder| read_mappings(folder).ok());
    Ok(of_threads.find(|code| !code.mappings.is_empty()).unwrap_or(code))
}

fn read_mappings(folder: ProcessFolder) -> io::Result<ProcessCode> {
    let maps = File::open(folder.path.join("maps"))?;
    let (mappings, dropped) = parse(BufReader::new(maps.take(MAPS_MAX)))?;
    Ok(ProcessCode { folder, mappings, dropped })
}

/// Line by line, so that an unusual path affects its own line alone. Neighbours that continue each other are one mapping. Also
/// returns the number of mappings that are left out: those without a file first, because only files have names.
fn parse(mut maps: impl BufRead) -> io::Result<(Vec<CodeMapping>, u32)> {
    let mut mappings: Vec<CodeMapping> = Vec::new();
    let (mut line, mut read, mut cut) = (Vec::new(), 0u64, false);
    let mut dropped = 0;
    loop {
        line.clear();
        read += maps.read_until(b'\n', &mut line)? as u64;
        if line.pop_if(|last| *last == b'\n').is_none() {
            // The limit was reached; what lies behind it is not known, and counts as one.
            cut |= read >= MAPS_MAX;
            break;
        }
        let Some(mapping) = parse_line(&line) else { continue };
        match mappings.last_mut() {
            Some(last) if last.continues_with(&mapping) => last.end = mapping.end,
            _ => mappings.push(mapping),
        }
        if mappings.len() >= 2 * MAPPINGS_MAX {
            dropped += keep_the_best(&mut mappings);
        }
    }
    dropped += keep_the_best(&mut mappings) + u32::from(cut);
    Ok((mappings, dropped))
}

/// Leaves `MAPPINGS_MAX` mappings; returns how many were left out.
fn keep_the_best(mappings: &mut Vec<CodeMapping>) -> u32 {
    let surplus = mappings.len().saturating_sub(MAPPINGS_MAX);
    if surplus > 0 {
        // Stable: of equals the lowest stay.
        mappings.sort_by_key(|mapping| !matches!(mapping.file, FileKey::Inode { .. }));
        mappings.truncate(MAPPINGS_MAX);
        mappings.sort_by_key(|mapping| mapping.start);
    }
    u32::try_from(surplus).unwrap_or(u32::MAX)
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
    let (start, end) = (hex(start)?, hex(end)?);
    let (high, low) = device.split_once(':')?;
    let inode: u64 = inode.parse().ok()?;
    let path = if path.is_empty() { b"[anon]" } else { path };
    let file = match inode {
        // The vDSO of a 32-bit process is another.
        0 if path == b"[vdso]" && end <= u32::MAX.into() => FileKey::Named("[vdso32]".to_owned()),
        0 => FileKey::Named(String::from_utf8_lossy(path).into_owned()),
        _ => FileKey::Inode { device: (hex(high)? as u32, hex(low)? as u32), inode },
    };
    let offset = match &file {
        // Memory has no offset of its own; with this one it is the same code when it grows at either end.
        FileKey::Named(name) if !name.starts_with("[vdso") => start,
        _ => hex(offset)?,
    };
    let path = OsStr::from_bytes(path).to_owned();
    (start < end).then_some(CodeMapping { start, end, offset, file, path })
}

/// The root directory of a process.
pub(super) fn open_root(folder: &ProcessFolder) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, folder.path.join("root"), flags, Mode::empty())?)
}

/// Opens the file of a mapping: below the process's root, or, if it was deleted or replaced, by the process's reference to it.
pub(super) fn open_mapped_file(folder: &ProcessFolder, root: impl AsFd, mapping: &CodeMapping) -> io::Result<OwnedFd> {
    open_below(root, mapping).or_else(|error| {
        // map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, which the agent has with `runtime.allowSysAdmin`. The folder
        // of a thread has none, but each thread also has a folder that is not listed.
        let map_file = format!("/proc/{}/map_files/{:x}-{:x}", folder.tid, mapping.start, mapping.end);
        let references = [folder.path.join("exe"), map_file.into()];
        let open_reference = |reference: &PathBuf| {
            open_if_mapped(&openat(CWD, reference, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?, mapping)
        };
        references.iter().find_map(|reference| open_reference(reference).ok()).ok_or(error)
    })
}

/// Opens the file of a mapping below a root directory. An error if its path is gone, or leads to another file.
fn open_below(root: impl AsFd, mapping: &CodeMapping) -> io::Result<OwnedFd> {
    open_if_mapped(&open_path_below(root, &mapping.path)?, mapping)
}

/// An O_PATH descriptor of what is below a root directory: opening a device or a pipe has side effects.
pub(super) fn open_path_below(root: impl AsFd, path: impl AsRef<OsStr>) -> io::Result<OwnedFd> {
    let (flags, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
    Ok(openat2(root, path.as_ref(), flags, Mode::empty(), resolve)?)
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
    open_for_reading(path)
}

/// By the descriptor, because the path may lead elsewhere by now.
pub(super) fn open_for_reading(path: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
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
    let start = start_ticks(format!("/proc/{pid}"));
    // `ktime` includes the count of execs, which is far below a tick but may reach the next one.
    start.is_some_and(|start| (ktime / TICK_NS).abs_diff(start) <= 1)
}

#[cfg(test)]
mod tests;
