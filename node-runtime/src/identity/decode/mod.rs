//! Identity's records out of bytes that the kernel wrote. A record of another layout, or a short one, is no record.

mod exec;
mod names;

use std::mem::offset_of;

use trilobite_node_ebpf::{
    limits::RECORD_LAYOUT,
    process::{CgroupRecord, ExitRecord, ProcessRecord},
    record::{Record, RecordKind},
};

pub use exec::{Image, exec, images};
pub use names::{cut, quoted};

use super::ExecKey;
use crate::kernel::Fields;

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessRecordOf {
    /// It was made.
    Fork(Fork),
    /// Its image was replaced.
    Exec(Box<Image>),
    /// It ended.
    Exit(Exit),
}

/// A process was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child.
    pub key: ExecKey,
    /// Whose child it is.
    pub parent: ExecKey,
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Leaf cgroup.
    pub cgroup: u64,
    /// Pid inside its own pid namespace.
    pub ns_pid: u32,
}

/// A process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process, by its last image.
    pub key: ExecKey,
    /// Whose child it was.
    pub parent: ExecKey,
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Leaf cgroup.
    pub cgroup: u64,
    /// Thread that was the last.
    pub tid: u32,
    /// As wait(2) gives it.
    pub code: u32,
}

/// A cgroup came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    /// v2 id.
    pub id: u64,
    /// The one above.
    pub parent: u64,
    /// Its own name.
    pub name: String,
    /// It went.
    pub removed: bool,
    /// Boot clock, nanoseconds.
    pub time: u64,
}

/// The header, if it is of our layout, and says the size that the record has.
pub fn header(bytes: &[u8]) -> Option<Record> {
    let fields = Fields(bytes);
    let header = Record {
        layout: fields.u16(offset_of!(Record, layout))?,
        kind: fields.u16(offset_of!(Record, kind))?,
        size: fields.u32(offset_of!(Record, size))?,
        time: fields.u64(offset_of!(Record, time))?,
        cgroup: fields.u64(offset_of!(Record, cgroup))?,
        exec_ktime: fields.u64(offset_of!(Record, exec_ktime))?,
        exec_pid: fields.u32(offset_of!(Record, exec_pid))?,
        tid: fields.u32(offset_of!(Record, tid))?,
        connection: fields.u64(offset_of!(Record, connection))?,
        source: fields.u32(offset_of!(Record, source))?,
        generation: fields.u32(offset_of!(Record, generation))?,
    };
    (header.layout == RECORD_LAYOUT && header.size as usize <= bytes.len()).then_some(header)
}

/// A record of the process ring.
pub fn process(bytes: &[u8]) -> Option<ProcessRecordOf> {
    let header = header(bytes)?;
    let fields = Fields(bytes);
    let key = ExecKey { ktime: header.exec_ktime, pid: header.exec_pid };
    match header.kind {
        kind if kind == RecordKind::Fork as u16 => Some(ProcessRecordOf::Fork(Fork {
            key,
            parent: ExecKey {
                ktime: fields.u64(offset_of!(ProcessRecord, parent_ktime))?,
                pid: fields.u32(offset_of!(ProcessRecord, parent_pid))?,
            },
            time: header.time,
            cgroup: header.cgroup,
            ns_pid: fields.u32(offset_of!(ProcessRecord, ns_pid))?,
        })),
        kind if kind == RecordKind::Exec as u16 => Some(ProcessRecordOf::Exec(Box::new(exec(bytes)?))),
        kind if kind == RecordKind::Exit as u16 => Some(ProcessRecordOf::Exit(Exit {
            key,
            parent: ExecKey {
                ktime: fields.u64(offset_of!(ExitRecord, parent_ktime))?,
                pid: fields.u32(offset_of!(ExitRecord, parent_pid))?,
            },
            time: header.time,
            cgroup: header.cgroup,
            tid: header.tid,
            code: fields.u32(offset_of!(ExitRecord, code))?,
        })),
        _ => None,
    }
}

/// A record of the cgroup ring.
pub fn cgroup(bytes: &[u8]) -> Option<CgroupChange> {
    let header = header(bytes)?;
    let removed = match header.kind {
        kind if kind == RecordKind::CgroupMkdir as u16 => false,
        kind if kind == RecordKind::CgroupRmdir as u16 => true,
        _ => return None,
    };
    let fields = Fields(bytes);
    let name =
        fields.bytes(offset_of!(CgroupRecord, name), size_of::<CgroupRecord>() - offset_of!(CgroupRecord, name))?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(CgroupChange {
        id: header.cgroup,
        parent: fields.u64(offset_of!(CgroupRecord, parent))?,
        name: String::from_utf8_lossy(name).into_owned(),
        removed,
        time: header.time,
    })
}
