//! The header that every record begins with; `bpf/include/record.h` has the same.

/// What a record is about. Numbers are those of `enum record_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// A process was made.
    Fork = 1,
    /// A process image was replaced.
    Exec = 2,
    /// A process ended.
    Exit = 3,
    /// A cgroup was made.
    CgroupMkdir = 4,
    /// A cgroup was removed.
    CgroupRmdir = 5,
    /// A tracepoint of a policy.
    Tracepoint = 16,
    /// A flow.
    Flow = 32,
    /// A CPU sample.
    Sample = 48,
}

/// The header, field by field as in C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// `RECORD_LAYOUT` of the object that wrote it.
    pub layout: u16,
    /// A `RecordKind`.
    pub kind: u16,
    /// Bytes, this header included.
    pub size: u32,
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Leaf cgroup, v2 id; 0 where there is none.
    pub cgroup: u64,
    /// Exec key of the process: see the agent's `ExecKey`.
    pub exec_ktime: u64,
    /// Its thread group id; 0 where there is none.
    pub exec_pid: u32,
    /// Thread that was current.
    pub tid: u32,
    /// Key of the connection; 0 where there is none.
    pub connection: u64,
    /// Number that the agent gave the unit; 0 for identity.
    pub source: u32,
    /// Generation of the resource that asked.
    pub generation: u32,
}

const _: () = assert!(size_of::<Record>() == 56);
