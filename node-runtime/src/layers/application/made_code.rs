//! Code of a process that is in no file of its own: what a JIT compiler made, whose names are in a perf map in the pod's `/tmp`, and
//! the vDSO, which is the same in every process. A pod cannot make the agent open anything else as a map than a regular file of
//! the process's own user at that path, without links.
//! Not here: the contents of those maps, which the agent never reads.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, ResolveFlags, fstat, memfd_create, openat2};

use super::mapped_code::{CodeMapping, FileKey, ProcessFolder, open_for_reading};

/// Size of the largest perf map that is sent.
const PERF_MAP_MAX: i64 = 64 << 20;
/// Size of the largest vDSO.
const VDSO_MAX: usize = 64 << 10;
pub(super) const VDSO: &str = "[vdso]";

/// Opens the map that a JIT compiler wrote about a process: `/tmp/perf-PID.map` with its pid in its own namespace.
pub(super) fn open_perf_map(folder: &ProcessFolder, root: impl AsFd) -> io::Result<OwnedFd> {
    let status = fs::read_to_string(folder.path().join("status"))?;
    let (pid, user) = pid_and_user(&status).ok_or_else(|| io::Error::other("no pid in its status"))?;
    open_map_of(root, pid, user)
}

fn open_map_of(root: impl AsFd, pid: u32, user: u32) -> io::Result<OwnedFd> {
    // O_PATH first: opening a device or a pipe has side effects.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = openat2(root, format!("tmp/perf-{pid}.map"), flags, Mode::empty(), resolve)?;
    let stat = fstat(&path)?;
    let refused = |why: &str| Err(io::Error::other(format!("a perf map that is {why}")));
    match () {
        () if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => refused("no regular file"),
        // It could be a link to a file that its author may not read.
        () if stat.st_nlink != 1 => refused("linked"),
        () if stat.st_uid != user => refused("another user's"),
        () if stat.st_size > PERF_MAP_MAX => refused("too large"),
        () => open_for_reading(&path),
    }
}

/// The pid in the innermost namespace, and the effective user.
fn pid_and_user(status: &str) -> Option<(u32, u32)> {
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let (pids, users) = (line("NSpid:")?, line("Uid:")?);
    Some((pids.split_whitespace().last()?.parse().ok()?, users.split_whitespace().nth(1)?.parse().ok()?))
}

/// A copy of the vDSO as a file in memory, if a mapping has the size of this process's.
pub(super) fn open_vdso(mapping: &CodeMapping) -> io::Result<OwnedFd> {
    let absent = || io::Error::new(io::ErrorKind::NotFound, "no such vDSO");
    let own = super::mapped_code::code_mappings(std::process::id())?.mappings;
    let own = own.iter().find(|mapping| is_vdso(&mapping.file)).ok_or_else(absent)?;
    let size = usize::try_from(own.end - own.start).unwrap_or(usize::MAX);
    if own.end - own.start != mapping.end - mapping.start || size > VDSO_MAX {
        return Err(absent());
    }
    let mut memory = File::open("/proc/self/mem")?;
    memory.seek(SeekFrom::Start(own.start))?;
    let mut image = vec![0; size];
    memory.read_exact(&mut image)?;
    let mut file = File::from(memfd_create(c"vdso", MemfdFlags::CLOEXEC)?);
    file.write_all(&image)?;
    Ok(file.into())
}

pub(super) fn is_vdso(file: &FileKey) -> bool {
    matches!(file, FileKey::Named(name) if name == VDSO)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{MetadataExt, symlink},
        path::Path,
    };

    use rustix::fs::{CWD, openat};

    use super::*;

    const PID: u32 = 4321;

    /// Opens the map of process 4321 below a root in which `make` has put something at its path.
    fn opened(user: Option<u32>, make: impl FnOnce(&Path)) -> Result<OwnedFd, String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        make(&root.path().join("tmp/perf-4321.map"));
        let user = user.unwrap_or_else(|| fs::metadata(root.path()).unwrap().uid());
        let fd = openat(CWD, root.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        open_map_of(fd, PID, user).map_err(|error| error.to_string())
    }

    fn write(path: &Path) {
        fs::write(path, "7f00 10 fetch\n").unwrap();
    }

    #[test]
    fn map_of_the_process_is_opened_at_its_beginning() {
        let mut text = String::new();
        File::from(opened(None, write).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "7f00 10 fetch\n");
    }

    #[test]
    fn links_pipes_and_maps_of_others_are_refused() {
        let link = opened(None, |path| {
            write(&path.with_extension("other"));
            symlink(path.with_extension("other"), path).unwrap();
        });
        // With these flags the link itself is opened, and it is no file.
        assert_eq!(link.unwrap_err(), "a perf map that is no regular file");
        let hard_link = opened(None, |path| {
            write(&path.with_extension("other"));
            fs::hard_link(path.with_extension("other"), path).unwrap();
        });
        assert_eq!(hard_link.unwrap_err(), "a perf map that is linked");
        let pipe = opened(None, |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap());
        assert_eq!(pipe.unwrap_err(), "a perf map that is no regular file");
        assert_eq!(opened(Some(77), write).unwrap_err(), "a perf map that is another user's");
        let large = opened(None, |path| File::create(path).unwrap().set_len(PERF_MAP_MAX as u64 + 1).unwrap());
        assert_eq!(large.unwrap_err(), "a perf map that is too large");
        assert!(opened(None, |_| ()).unwrap_err().contains("No such file"));
    }

    #[test]
    fn folder_that_is_a_link_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("var")).unwrap();
        write(&root.path().join("var/perf-4321.map"));
        symlink("var", root.path().join("tmp")).unwrap();
        let fd = openat(CWD, root.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(open_map_of(fd, PID, fs::metadata(root.path()).unwrap().uid()).is_err());
    }

    #[test]
    fn pid_is_that_of_the_innermost_namespace() {
        let status = "Name:\tnode\nPid:\t94321\nUid:\t1000\t1001\t1000\t1000\nNSpid:\t94321\t321\t7\n";
        assert_eq!(pid_and_user(status), Some((7, 1001)));
        assert_eq!(pid_and_user("Name:\tnode\n"), None);
    }

    #[test]
    fn vdso_is_an_elf_file_of_its_mapping() {
        let own = crate::layers::application::mapped_code::code_mappings(std::process::id()).unwrap().mappings;
        let mapping = own.iter().find(|mapping| is_vdso(&mapping.file)).unwrap().clone();
        let mut file = File::from(open_vdso(&mapping).unwrap());
        let mut begin = [0; 4];
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"\x7fELF");
        let other = CodeMapping { end: mapping.end + 0x1000, ..mapping };
        assert!(open_vdso(&other).is_err());
    }
}
