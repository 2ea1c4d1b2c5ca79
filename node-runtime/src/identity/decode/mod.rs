//! Decodes identity's records. Bytes of another layout and short records decode to none.

mod exec;
mod header;
mod names;
mod pieces;

use trilobite_node_ebpf::{CgroupRecord, ExitRecord, ForkRecord, Record, RecordKind, TaskCredentials};
use zerocopy::FromBytes;

pub use exec::{Image, images};
pub(super) use names::{arguments, argv0, cut, last_name};
pub use pieces::ArgumentPieces;

use self::header::{credentials, key};
use super::{Credentials, ExecKey};

/// A record of the process ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessRecord {
    Fork(Fork),
    Exec(Box<Image>),
    Exit(Exit),
    /// A piece of the arguments of an exec whose record follows.
    Arguments,
}

/// A process was forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child.
    pub key: ExecKey,
    pub parent: ExecKey,
    /// The process that called fork or clone. With CLONE_PARENT its parent is the child's as well.
    pub forker: ExecKey,
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Leaf cgroup.
    pub cgroup: u64,
    /// Of the child itself.
    pub credentials: Credentials,
    /// Login uid; `u32::MAX` where unset.
    pub auid: u32,
    /// In the order of `Process::namespaces`.
    pub namespaces: [u32; 10],
    /// Pid inside its own pid namespace.
    pub ns_pid: u32,
}

/// A process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The last image of the process.
    pub key: ExecKey,
    pub parent: ExecKey,
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Leaf cgroup.
    pub cgroup: u64,
    /// The last thread.
    pub tid: u32,
    /// The wait status of wait(2).
    pub code: u32,
}

/// A cgroup was made or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    /// v2 id.
    pub id: u64,
    pub parent: u64,
    /// Last component of its path.
    pub name: String,
    pub removed: bool,
    /// Boot clock, nanoseconds.
    pub time: u64,
}

/// Decodes a record of the process ring; `pieces` are those that came before it.
pub fn process(bytes: &[u8], pieces: &mut ArgumentPieces) -> Option<ProcessRecord> {
    let header = Record::read(bytes)?;
    match header.kind()? {
        RecordKind::Fork => {
            let (record, _) = ForkRecord::read_from_prefix(bytes).ok()?;
            let TaskCredentials { auid, namespaces, ns_pid, .. } = record.credentials;
            Some(ProcessRecord::Fork(Fork {
                key: key(&header),
                parent: ExecKey { ktime: record.parent_ktime, pid: record.parent_pid },
                forker: ExecKey { ktime: record.forker_ktime, pid: record.forker_pid },
                time: header.time,
                cgroup: header.cgroup,
                credentials: credentials(&record.credentials),
                auid,
                namespaces,
                ns_pid,
            }))
        }
        RecordKind::Exec => {
            let pieces = pieces.remove(key(&header));
            Some(ProcessRecord::Exec(Box::new(exec::exec(bytes, &pieces)?)))
        }
        RecordKind::Arguments => pieces.record(&header, bytes).map(|()| ProcessRecord::Arguments),
        RecordKind::Exit => {
            let (record, _) = ExitRecord::read_from_prefix(bytes).ok()?;
            Some(ProcessRecord::Exit(Exit {
                key: key(&header),
                parent: ExecKey { ktime: record.parent_ktime, pid: record.parent_pid },
                time: header.time,
                cgroup: header.cgroup,
                tid: header.tid,
                code: record.code,
            }))
        }
        _ => None,
    }
}

/// Decodes a record of the cgroup ring.
pub fn cgroup(bytes: &[u8]) -> Option<CgroupChange> {
    let header = Record::read(bytes)?;
    let removed = match header.kind()? {
        RecordKind::CgroupMkdir => false,
        RecordKind::CgroupRmdir => true,
        _ => return None,
    };
    let (record, _) = CgroupRecord::read_from_prefix(bytes).ok()?;
    let name = record.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(CgroupChange {
        id: header.cgroup,
        parent: record.parent,
        name: String::from_utf8_lossy(name).into_owned(),
        removed,
        time: header.time,
    })
}
