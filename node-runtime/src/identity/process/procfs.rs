//! Names of processes that ran before the agent started and that no earlier agent has seen: the kernel's task iterator cannot
//! read their memory on every kernel. What /proc does not show is marked by Tetragon's flag words.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use trilobite_node_ebpf::{ARGS_MAX, ProcessEntry, process_flag};
use trilobite_untrusted_text::decode;

use super::{
    cmdline,
    image::{ExecKey, Process},
};
use crate::{
    identity::decode::{Image, cut},
    kernel::{
        pid_namespace,
        proc_stat::{TICK_NS, start_ticks},
    },
};

/// Behind the path of a file or directory that was removed or replaced.
const DELETED: &[u8] = b" (deleted)";
/// More execs than one process ever makes within a tick before its parent is asked for.
const EXECS: u64 = 100_000;
/// The flags of an image of which /proc says nothing.
const NO_NAMES: u32 = process_flag::ERROR_FILENAME | process_flag::ERROR_ARGS | process_flag::ERROR_CWD;

/// Whether the kernel's process map still has this image for the pid, so that what /proc says of the pid is about this image.
/// Without an entry the process has ended or found no room in the map, and no other image is known to have taken its place.
pub(in crate::identity) fn same_image(entry: Option<&ProcessEntry>, key: ExecKey) -> bool {
    entry.is_none_or(|entry| entry.ktime == key.ktime)
}

/// Marks an image whose names cannot be read any more.
pub(in crate::identity) fn mark_unnamed(image: &mut Image) {
    if !image.kernel {
        image.add_flags(NO_NAMES);
    }
}

/// Reads names from /proc, which shows the processes of the agent's own pid namespace.
#[derive(Clone, Copy, Debug)]
pub(in crate::identity) struct ProcReader {
    /// The agent's pid namespace, where that is not the first one.
    namespace: Option<u32>,
}

impl ProcReader {
    pub(in crate::identity) fn new() -> Self {
        Self { namespace: pid_namespace::nested() }
    }

    /// Fills in binary, arguments and working directory, as far as /proc shows them, and marks what it does not show.
    pub(in crate::identity) fn fill_names(&self, image: &mut Image) {
        if image.kernel {
            image.process.binary = "<kernel>".into();
            return;
        }
        match self.dir(&image.process) {
            Some(dir) => fill_from(&dir, image),
            None => mark_unnamed(image),
        }
    }

    /// The image of a process that the task iterator does not list, because it is not on the node or because the kernel hides it, as
    /// some do with the machine's first process. None where the pid is another process's by now.
    pub(in crate::identity) fn read_outsider(&self, key: ExecKey) -> Option<Image> {
        self.namespace.is_none().then(|| outsider(&PathBuf::from(format!("/proc/{}", key.pid)), key))?
    }

    fn dir(&self, process: &Process) -> Option<PathBuf> {
        let pid = match self.namespace {
            None => process.key.pid,
            Some(own) if process.namespaces[3] == own => process.ns_pid,
            Some(_) => return None,
        };
        Some(PathBuf::from(format!("/proc/{pid}")))
    }
}

fn outsider(dir: &Path, key: ExecKey) -> Option<Image> {
    let started = start_ticks(dir)?;
    // The key counts execs in nanoseconds.
    if key.ktime / TICK_NS != started && key.ktime.saturating_sub(EXECS) / TICK_NS != started {
        return None;
    }
    let status = fs::read_to_string(dir.join("status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())?;
    let loginuid = fs::read_to_string(dir.join("loginuid")).ok().and_then(|text| text.trim().parse().ok());
    let mut process = Process { uid, auid: loginuid.unwrap_or(u32::MAX), ..Process::unknown(key, 0) };
    process.namespaces[3] = fs::metadata(dir.join("ns/pid")).map_or(0, |ns| ns.ino() as u32);
    let mut image = Image { process, ran_before: true, bits: process_flag::RAN_BEFORE, ..Image::default() };
    fill_from(dir, &mut image);
    Some(image)
}

fn fill_from(dir: &Path, image: &mut Image) {
    let mut bits = 0;
    let process = &mut image.process;
    match fs::read_link(dir.join("exe")) {
        // Not asked by stat: a file system that a pod serves itself need not answer.
        Ok(path) => process.binary = decode(binary_path(path.as_os_str(), process.inode)),
        Err(_) => bits |= process_flag::ERROR_FILENAME,
    }
    match fs::read_link(dir.join("cwd")).map(OsString::from) {
        Ok(path) => match path.as_bytes().strip_suffix(DELETED) {
            // No path leads there any more.
            Some(path) => (process.cwd, bits) = (decode(path), bits | process_flag::ERROR_CWD),
            None => process.cwd = decode(path.as_bytes()),
        },
        Err(_) => bits |= process_flag::ERROR_CWD,
    }
    if process.cwd == "/" {
        bits |= process_flag::ROOT_CWD;
    }
    let bytes = read_start(&dir.join("cmdline"), ARGS_MAX as usize + 1).unwrap_or_default();
    let whole = bytes.len() <= ARGS_MAX as usize;
    match cmdline::parse(&bytes[..bytes.len().min(ARGS_MAX as usize)], &process.binary) {
        Some(mut line) => {
            bits |= if line.is_title { process_flag::ERROR_ARGS } else { 0 };
            bits |= if cut(&mut line.arguments, ARGS_MAX as usize) { process_flag::TRUNC_ARGS } else { 0 };
            (process.arguments, process.argv0) = (line.arguments.into(), line.argv0);
        }
        None => bits |= process_flag::ERROR_ARGS,
    }
    bits |= if whole { 0 } else { process_flag::TRUNC_ARGS };
    image.add_flags(bits);
}

/// The path of a binary without what the kernel appends once no name leads to the file; a file may also be called so.
fn binary_path(link: &OsStr, (inode, links): (u64, u32)) -> &[u8] {
    let path = link.as_bytes();
    let deleted = inode != 0 && links == 0;
    path.strip_suffix(DELETED).filter(|_| deleted).unwrap_or(path)
}

fn read_start(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_after_an_exec_belong_to_another_image() {
        let key = ExecKey { ktime: 50, pid: 5 };
        let entry = |ktime| ProcessEntry { ktime, ..ProcessEntry::default() };
        assert!(same_image(Some(&entry(50)), key));
        assert!(!same_image(Some(&entry(51)), key));
        assert!(same_image(None, key));
    }

    /// A directory like /proc/PID.
    fn proc_dir(exe: &str, cwd: &str, cmdline: Option<&[u8]>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(exe, dir.path().join("exe")).unwrap();
        std::os::unix::fs::symlink(cwd, dir.path().join("cwd")).unwrap();
        if let Some(bytes) = cmdline {
            fs::write(dir.path().join("cmdline"), bytes).unwrap();
        }
        dir
    }

    #[test]
    fn outsider_is_read_unless_its_pid_was_reused() {
        let dir = proc_dir("/sbin/init", "/", Some(b"/sbin/init\0splash\0"));
        fs::write(dir.path().join("stat"), "1 (a) b (c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 31 9 9\n")
            .unwrap();
        fs::write(dir.path().join("status"), "Name:\tinit\nUid:\t7\t8\t8\t8\n").unwrap();
        let key = |ktime| ExecKey { ktime, pid: 1 };
        let image = outsider(dir.path(), key(311_201_289)).unwrap();
        let Process { key: read, uid, auid, binary, arguments, flags, .. } = image.process;
        assert_eq!((read, uid, auid), (key(311_201_289), 7, u32::MAX));
        assert_eq!((binary.as_str(), arguments.as_str(), flags.as_str()), ("/sbin/init", "splash", "procFS rootcwd"));
        assert!(outsider(dir.path(), key(320_000_001)).is_some(), "an exec counts a nanosecond");
        assert_eq!(outsider(dir.path(), key(331_201_289)), None);
        assert_eq!(outsider(dir.path(), key(301_201_289)), None);
    }

    fn filled(dir: &Path, inode: (u64, u32)) -> Process {
        let process = Process { inode, ..Process::default() };
        let mut image = Image { process, bits: process_flag::RAN_BEFORE, ..Image::default() };
        fill_from(dir, &mut image);
        image.process
    }

    #[test]
    fn upgraded_binary_has_its_path_without_the_kernels_mark() {
        let dir = proc_dir("/usr/sbin/nginx (deleted)", "/srv (deleted)", Some(b"nginx\0-g\0daemon off;\0"));
        let upgraded = filled(dir.path(), (7, 0));
        assert_eq!((upgraded.binary.as_str(), upgraded.cwd.as_str()), ("/usr/sbin/nginx", "/srv"));
        assert_eq!((upgraded.arguments.as_str(), upgraded.flags.as_str()), ("-g \"daemon off;\"", "procFS errorCWD"));
        // A file that is really called so.
        assert_eq!(filled(dir.path(), (7, 1)).binary, "/usr/sbin/nginx (deleted)");
    }

    #[test]
    fn what_proc_does_not_show_is_marked() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(filled(empty.path(), (0, 0)).flags, "procFS errorFilename errorArgs errorCWD");
        let retitled = filled(proc_dir("/usr/sbin/sshd", "/", Some(b"sshd: root@pts/0\0")).path(), (7, 1));
        assert_eq!(
            (retitled.arguments.as_str(), retitled.flags.as_str()),
            ("\"sshd: root@pts/0\"", "procFS errorArgs rootcwd")
        );
        let wiped = filled(proc_dir("/bin/a", "/", Some(b"")).path(), (7, 1));
        assert_eq!((wiped.arguments.as_str(), wiped.flags.as_str()), ("", "procFS errorArgs rootcwd"));
        let mut unnamed = Image { bits: process_flag::RAN_BEFORE, ..Image::default() };
        mark_unnamed(&mut unnamed);
        assert_eq!(unnamed.process.flags, "procFS errorFilename errorArgs errorCWD");
    }

    #[test]
    fn long_command_line_is_cut_and_marked() {
        let long = [b"cat\0".as_slice(), &[b'x'; 2 * ARGS_MAX as usize]].concat();
        let process = filled(proc_dir("/bin/cat", "/", Some(&long)).path(), (7, 1));
        assert!(process.flags.contains("truncArgs") && process.arguments.len() <= ARGS_MAX as usize);
    }
}
