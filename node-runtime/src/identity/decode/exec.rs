//! Decodes exec records, of an exec itself or of the task iterator.

use std::borrow::Cow;

use trilobite_node_ebpf::{ARGS_MAX, ExecRecord, Record, RecordKind, TaskCredentials, process_flag};
use zerocopy::FromBytes;

use super::{
    header::{credentials, key},
    names,
    pieces::Pieces,
};
use crate::identity::{ExecKey, Process};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;

/// A process image and the one that it replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub process: Process,
    /// Key of the previous image, where the kernel knew it.
    pub replaced: Option<ExecKey>,
    /// The task iterator found it: binary, arguments and directory have to be read from /proc.
    pub ran_before: bool,
    /// A kernel thread.
    pub kernel: bool,
    /// Flags of `process_flag`.
    pub bits: u32,
}

impl Image {
    /// Marks more of what is known or missing.
    pub(in crate::identity) fn add_flags(&mut self, bits: u32) {
        self.bits |= bits;
        self.process.flags = names::flags(self.bits);
    }
}

/// All records of the task iterator. None if one of them is incomplete: a list with a gap would end processes that still run.
pub fn images(mut bytes: &[u8]) -> Option<Vec<Image>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(exec(bytes, &Pieces::default())?);
        bytes = bytes.get(Record::read(bytes)?.size as usize..)?;
    }
    Some(found)
}

/// One record, with the bytes of its names behind it; `pieces` are those of its arguments that came before it.
pub(super) fn exec(bytes: &[u8], pieces: &Pieces) -> Option<Image> {
    let header = Record::read(bytes).filter(|header| header.kind() == Some(RecordKind::Exec))?;
    let (record, mut data) = ExecRecord::read_from_prefix(bytes.get(..header.size as usize)?).ok()?;
    let mut name = |length: u16| {
        let (name, rest) = data.split_at_checked(length.into())?;
        data = rest;
        Some(name)
    };
    let (filename, cwd) = (name(record.filename_bytes)?, name(record.cwd_bytes)?);
    let (file, args) = (name(record.file_bytes)?, name(record.args_bytes)?);
    if !data.is_empty() {
        return None;
    }

    let key = key(&header);
    let mut bits = record.flags;
    let args = match &pieces.bytes[..] {
        more if !more.is_empty() && pieces.offset == args.len() => Cow::Owned([args, more].concat()),
        _ => Cow::Borrowed(args),
    };
    if (args.len() as u64) < record.args_total && bits & process_flag::ERROR_ARGS == 0 {
        bits |= process_flag::TRUNC_ARGS;
    }
    let ExecRecord { mode, owner, group, replaced_ktime: replaced, .. } = record;
    let TaskCredentials { uid, gid, auid, namespaces, ns_pid, .. } = record.credentials;
    let mut cwd = names::directory(cwd, bits);
    let mut binary = names::absolute(names::text(filename), &cwd);
    let file = names::file_path(file, bits).filter(|path| **path != *binary);
    let argv0 = names::argv0(&args, &binary);
    let mut arguments = names::arguments(&args, bits & process_flag::TRUNC_ARGS != 0);
    for (text, most, flag) in [
        (&mut arguments, ARGS_MAX as usize, process_flag::TRUNC_ARGS),
        (&mut binary, names::PATH_TEXT_MAX, process_flag::ERROR_FILENAME),
        (&mut cwd, names::PATH_TEXT_MAX, process_flag::ERROR_CWD),
    ] {
        bits |= if names::cut(text, most) { flag } else { 0 };
    }
    let process = Process {
        key,
        parent: ExecKey { ktime: record.parent_ktime, pid: record.parent_pid },
        tid: header.tid,
        uid: uid[0],
        auid,
        binary,
        file,
        argv0,
        arguments: arguments.into(),
        cwd,
        flags: names::flags(bits),
        started_ns: header.time,
        cgroup: header.cgroup,
        credentials: credentials(&record.credentials),
        namespaces,
        ns_pid,
        in_init_tree: None,
        // The mode bit has no effect on a nosuid mount, so the effective id must have changed to the file's owner.
        setuid: (mode & S_ISUID != 0 && uid[1] == owner && uid[0] != owner).then_some(owner),
        setgid: (mode & S_ISGID != 0 && gid[1] == group && gid[0] != group).then_some(group),
        raised_by_file: bits & process_flag::FILE_CAPS != 0,
        inode: (record.inode, record.links),
    };
    Some(Image {
        replaced: (replaced != 0 && replaced != key.ktime).then_some(ExecKey { ktime: replaced, pid: key.pid }),
        ran_before: bits & process_flag::RAN_BEFORE != 0,
        kernel: bits & process_flag::KERNEL != 0,
        bits,
        process,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::RECORD_LAYOUT;
    use zerocopy::IntoBytes;

    use super::*;
    use crate::identity::decode::{ArgumentPieces, cgroup, process};

    /// A record in the format of the kernel.
    fn record(filename: &[u8], cwd: &[u8], args: &[u8], flags: u32) -> Vec<u8> {
        record_of_file(filename, cwd, b"", args, flags)
    }

    fn record_of_file(filename: &[u8], cwd: &[u8], file: &[u8], args: &[u8], flags: u32) -> Vec<u8> {
        let size = size_of::<ExecRecord>() + filename.len() + cwd.len() + file.len() + args.len();
        let kind = RecordKind::Exec as u16;
        let header = Record { layout: RECORD_LAYOUT, kind, size: size as u32, ..Record::default() };
        let record = ExecRecord {
            header: Record { exec_ktime: 1000, exec_pid: 42, ..header },
            flags,
            filename_bytes: filename.len() as u16,
            cwd_bytes: cwd.len() as u16,
            file_bytes: file.len() as u16,
            args_total: args.len() as u64,
            args_bytes: args.len() as u16,
            ..ExecRecord::default()
        };
        let mut bytes = record.as_bytes().to_vec();
        bytes.extend_from_slice(filename);
        bytes.extend_from_slice(cwd);
        bytes.extend_from_slice(file);
        bytes.extend_from_slice(args);
        bytes
    }

    #[test]
    fn record_has_binary_directory_and_arguments() {
        let bytes = record(
            b"./run\0",
            b"job\0srv\0",
            b"./run\0--name\0two words\0",
            process_flag::EXECVE | process_flag::CLONE,
        );
        let image = exec(&bytes, &Pieces::default()).unwrap();
        assert_eq!(image.process.binary, "/srv/job/run");
        assert_eq!(image.process.cwd, "/srv/job");
        assert_eq!(image.process.arguments, "--name \"two words\"");
        assert_eq!(image.process.flags, "execve clone");
    }

    #[test]
    fn file_is_named_where_the_caller_named_another() {
        let file = |filename: &[u8], file: &[u8], args: &[u8], flags| {
            let process =
                exec(&record_of_file(filename, b"srv\0", file, args, process_flag::EXECVE | flags), &Pieces::default())
                    .unwrap()
                    .process;
            (process.binary, process.file.as_deref().map(str::to_owned), process.argv0.as_deref().map(str::to_owned))
        };
        let seen = |binary: &str, file: Option<&str>, argv0: Option<&str>| {
            (binary.to_owned(), file.map(str::to_owned), argv0.map(str::to_owned))
        };
        let applet = file(b"/proc/self/exe\0", b"busybox\0bin\0", b"sleep\x000.5\0", 0);
        assert_eq!(applet, seen("/proc/self/exe", Some("/bin/busybox"), Some("sleep")));
        let memory = file(b"/dev/fd/3\0", b"memfd:payload\0", b"\0", 0);
        assert_eq!(memory, seen("/dev/fd/3", Some("/memfd:payload"), Some("")));
        let same = file(b"./run\0", b"run\0srv\0", b"run\0", 0);
        assert_eq!(same, seen("/srv/run", None, None));
        let deep = file(b"/srv/run\0", b"run\0srv\0", b"./run\0", process_flag::CUT_FILE);
        assert_eq!(deep, seen("/srv/run", Some("srv/run"), None));
    }

    #[test]
    fn script_names_its_interpreter_as_the_file() {
        let bytes =
            record_of_file(b"/srv/run.sh\0", b"", b"dash\0bin\0usr\0", b"/bin/sh\0/srv/run.sh\0", process_flag::EXECVE);
        let process = exec(&bytes, &Pieces::default()).unwrap().process;
        assert_eq!((process.binary.as_str(), process.file.as_deref()), ("/srv/run.sh", Some("/usr/bin/dash")));
        assert_eq!((process.argv0.as_deref(), process.arguments.as_str()), (Some("/bin/sh"), "/srv/run.sh"));
    }

    #[test]
    fn record_of_another_layout_is_refused() {
        let mut bytes = record(b"/bin/true\0", b"", b"true\0", process_flag::EXECVE);
        bytes[0] = 200;
        assert_eq!(process(&bytes, &mut ArgumentPieces::default()), None);
    }

    #[test]
    fn list_with_a_cut_record_is_refused() {
        let one = record(b"/bin/true\0", b"", b"true\0", process_flag::RAN_BEFORE);
        let two = [one.as_slice(), one.as_slice()].concat();
        assert_eq!(images(&two).map(|found| found.len()), Some(2));
        assert_eq!(images(&[two.as_slice(), &one[..100]].concat()), None);
        assert_eq!(images(&[]), Some(Vec::new()));
    }

    #[test]
    fn list_with_a_wrong_record_size_is_refused() {
        let mut wrong = record(b"", b"", b"", process_flag::RAN_BEFORE);
        let size = wrong.len() as u32 + 40;
        wrong[4..8].copy_from_slice(&size.to_ne_bytes());
        let next = record(b"", b"", b"", process_flag::RAN_BEFORE);
        assert_eq!(images(&[wrong, next.clone(), next].concat()), None);
    }

    proptest! {
        #[test]
        fn decoders_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), kind in 0_u16..8) {
            if bytes.len() > 8 {
                bytes[..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
                bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
                bytes[5..8].fill(0);
            }
            let _ = process(&bytes, &mut ArgumentPieces::default());
            let _ = cgroup(&bytes);
            let _ = images(&bytes);
        }
    }
}
