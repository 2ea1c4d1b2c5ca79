//! A process image out of an exec record, or out of the task iterator.

use std::mem::offset_of;

use trilobite_node_ebpf::{
    process::{ExecRecord, flag},
    record::RecordKind,
};

use super::{header, names};
use crate::{
    identity::{Credentials, ExecKey, Process},
    kernel::Fields,
};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;

/// A process image, and which one it replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The image.
    pub process: Process,
    /// Key of the image before, where the kernel knew it.
    pub replaced: Option<ExecKey>,
    /// Found by the iterator: binary, arguments and directory are still to be read from /proc.
    pub ran_before: bool,
    /// A thread of the kernel.
    pub kernel: bool,
    /// The kernel's flag bits.
    pub bits: u32,
}

/// All records that the task iterator wrote; none if one of them is no whole record. A list with a hole in it would say of
/// processes that live that they do not.
pub fn images(mut bytes: &[u8]) -> Option<Vec<Image>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(exec(bytes)?);
        bytes = bytes.get(header(bytes)?.size as usize..)?;
    }
    Some(found)
}

/// One record, whose size is what its names make it.
pub fn exec(bytes: &[u8]) -> Option<Image> {
    let header = header(bytes)?;
    if header.kind != RecordKind::Exec as u16 {
        return None;
    }
    let fields = Fields(bytes.get(..header.size as usize)?);
    let lengths = [
        fields.u16(offset_of!(ExecRecord, filename_bytes))?,
        fields.u16(offset_of!(ExecRecord, cwd_bytes))?,
        fields.u16(offset_of!(ExecRecord, args_bytes))?,
    ];
    let mut at = size_of::<ExecRecord>();
    let mut part = |length: u16| {
        let bytes = fields.bytes(at, length.into());
        at += usize::from(length);
        bytes
    };
    let (filename, cwd, args) = (part(lengths[0])?, part(lengths[1])?, part(lengths[2])?);
    if at != header.size as usize {
        return None;
    }

    let key = ExecKey { ktime: header.exec_ktime, pid: header.exec_pid };
    let mut bits = fields.u32(offset_of!(ExecRecord, flags))?;
    let uid: [u32; 4] = fields.u32s(offset_of!(ExecRecord, uid))?;
    let gid: [u32; 4] = fields.u32s(offset_of!(ExecRecord, gid))?;
    let mode = fields.u32(offset_of!(ExecRecord, mode))?;
    let owner = fields.u32(offset_of!(ExecRecord, owner))?;
    let group = fields.u32(offset_of!(ExecRecord, group))?;
    let replaced = fields.u64(offset_of!(ExecRecord, replaced_ktime))?;
    let mut cwd = names::directory(cwd, bits);
    let mut binary = names::absolute(&names::text(filename), &cwd);
    let mut arguments = names::arguments(args, bits & flag::TRUNC_ARGS != 0);
    for (text, flag) in
        [(&mut arguments, flag::TRUNC_ARGS), (&mut binary, flag::ERROR_FILENAME), (&mut cwd, flag::ERROR_CWD)]
    {
        bits |= if names::cut(text) { flag } else { 0 };
    }
    let process = Process {
        key,
        parent: ExecKey {
            ktime: fields.u64(offset_of!(ExecRecord, parent_ktime))?,
            pid: fields.u32(offset_of!(ExecRecord, parent_pid))?,
        },
        tid: header.tid,
        uid: uid[0],
        auid: fields.u32(offset_of!(ExecRecord, auid))?,
        binary,
        arguments,
        cwd,
        flags: names::flags(bits),
        started_ns: header.time,
        cgroup: header.cgroup,
        credentials: Credentials {
            uid,
            gid,
            permitted: fields.u64(offset_of!(ExecRecord, permitted))?,
            effective: fields.u64(offset_of!(ExecRecord, effective))?,
            inheritable: fields.u64(offset_of!(ExecRecord, inheritable))?,
            securebits: fields.u32(offset_of!(ExecRecord, securebits))?,
        },
        namespaces: fields.u32s(offset_of!(ExecRecord, namespaces))?,
        ns_pid: fields.u32(offset_of!(ExecRecord, ns_pid))?,
        in_init_tree: None,
        // The bit alone says nothing on a nosuid mount: the effective id must be the file's, and not the caller's.
        setuid: (mode & S_ISUID != 0 && uid[1] == owner && uid[0] != owner).then_some(owner),
        setgid: (mode & S_ISGID != 0 && gid[1] == group && gid[0] != group).then_some(group),
        inode: (fields.u64(offset_of!(ExecRecord, inode))?, fields.u32(offset_of!(ExecRecord, links))?),
    };
    Some(Image {
        replaced: (replaced != 0 && replaced != key.ktime).then_some(ExecKey { ktime: replaced, pid: key.pid }),
        ran_before: bits & flag::RAN_BEFORE != 0,
        kernel: bits & flag::KERNEL != 0,
        bits,
        process,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::limits::RECORD_LAYOUT;

    use super::*;
    use crate::identity::decode::{cgroup, process};

    /// A record as the kernel writes it.
    pub(crate) fn record(filename: &[u8], cwd: &[u8], args: &[u8], flags: u32) -> Vec<u8> {
        let size = size_of::<ExecRecord>() + filename.len() + cwd.len() + args.len();
        let mut bytes = vec![0; size_of::<ExecRecord>()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &RECORD_LAYOUT.to_ne_bytes());
        put(2, &2_u16.to_ne_bytes());
        put(4, &(size as u32).to_ne_bytes());
        put(24, &1000_u64.to_ne_bytes());
        put(32, &42_u32.to_ne_bytes());
        put(offset_of!(ExecRecord, flags), &flags.to_ne_bytes());
        put(offset_of!(ExecRecord, filename_bytes), &(filename.len() as u16).to_ne_bytes());
        put(offset_of!(ExecRecord, cwd_bytes), &(cwd.len() as u16).to_ne_bytes());
        put(offset_of!(ExecRecord, args_bytes), &(args.len() as u16).to_ne_bytes());
        bytes.extend_from_slice(filename);
        bytes.extend_from_slice(cwd);
        bytes.extend_from_slice(args);
        bytes
    }

    #[test]
    fn a_record_gives_its_binary_directory_and_arguments() {
        let bytes = record(b"./run\0", b"job\0srv\0", b"./run\0--name\0two words\0", flag::EXECVE | flag::CLONE);
        let image = exec(&bytes).unwrap();
        assert_eq!(image.process.binary, "/srv/job/run");
        assert_eq!(image.process.cwd, "/srv/job");
        assert_eq!(image.process.arguments, "--name \"two words\"");
        assert_eq!(image.process.flags, "execve clone");
    }

    #[test]
    fn a_record_of_another_layout_is_no_record() {
        let mut bytes = record(b"/bin/true\0", b"", b"true\0", flag::EXECVE);
        bytes[0] = 200;
        assert_eq!(process(&bytes), None);
    }

    #[test]
    fn a_list_of_which_a_record_is_cut_is_no_list() {
        let one = record(b"/bin/true\0", b"", b"true\0", flag::RAN_BEFORE);
        let two = [one.as_slice(), one.as_slice()].concat();
        assert_eq!(images(&two).map(|found| found.len()), Some(2));
        assert_eq!(images(&[two.as_slice(), &one[..100]].concat()), None);
        assert_eq!(images(&[]), Some(Vec::new()));
    }

    #[test]
    fn a_record_that_says_another_size_than_its_own_spoils_the_list() {
        let mut wrong = record(b"", b"", b"", flag::RAN_BEFORE);
        let size = wrong.len() as u32 + 40;
        wrong[4..8].copy_from_slice(&size.to_ne_bytes());
        let next = record(b"", b"", b"", flag::RAN_BEFORE);
        assert_eq!(images(&[wrong, next.clone(), next].concat()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), kind in 0_u16..8) {
            if bytes.len() > 8 {
                bytes[..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
                bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
                bytes[5..8].fill(0);
            }
            let _ = process(&bytes);
            let _ = cgroup(&bytes);
            let _ = images(&bytes);
        }
    }
}
