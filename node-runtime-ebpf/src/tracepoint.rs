//! What a policy's tracepoint reads, and the record of it; `bpf/include/tracepoint.h` has the same.

use crate::{
    limits::{TRACEPOINT_ARGS_MAX, TRACEPOINT_STRING_MAX},
    record::Record,
};

const ARGS: usize = TRACEPOINT_ARGS_MAX as usize;

/// How an argument is read. Numbers are those of `enum arg_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ArgKind {
    /// So many bytes, as they are.
    Number = 1,
    /// To a string, in the kernel's or the user's memory.
    Pointer = 2,
    /// A string inside the trace record, of so many bytes at most, its end included.
    Inline = 3,
    /// A string inside the trace record, at an offset that is in it.
    DataLoc = 4,
    /// A number, with the highest bit set for a 32-bit task.
    Syscall = 5,
    /// As `DataLoc`, and the offset counts from behind itself.
    RelLoc = 6,
}

/// One argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ArgSpec {
    /// In the trace record; of a raw tracepoint: eight times the argument's index.
    pub offset: u16,
    /// Of a number, or of an inline string.
    pub bytes: u16,
    /// An `ArgKind`; 0 for none.
    pub kind: u32,
}

/// One hook: the constants of its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HookSpec {
    /// Whose selection is asked.
    pub slot: u64,
    /// Into the header.
    pub source: u32,
    /// Into the header.
    pub generation: u32,
    /// Which of the policy's.
    pub hook: u32,
    /// How many of the arguments are strings.
    pub strings: u32,
    /// Pid of the agent, which is never told of.
    pub agent: u32,
    /// Pid namespace in which it has that number, by inode.
    pub agent_namespace: u32,
    /// The arguments, those that are none at the end.
    pub args: [ArgSpec; ARGS],
}

/// The record; for each argument that is a string `TRACEPOINT_STRING_MAX` bytes follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TracepointRecord {
    /// The process.
    pub header: Record,
    /// Which of the policy's.
    pub hook: u32,
    /// Nobody knew yet whether the cgroup is wanted.
    pub undecided: u32,
    /// A number; of a string: its bytes with its end, or an errno below 0. `TRACEPOINT_STRING_MAX`: there may be more of it.
    pub values: [u64; ARGS],
}

/// Where the strings of a record begin, and how far one is from the next.
pub const STRINGS: (usize, usize) = (size_of::<TracepointRecord>(), TRACEPOINT_STRING_MAX as usize);

/// Bit of `ArgKind::Syscall` for a 32-bit task.
pub const SYSCALL_COMPAT: u64 = 1 << 63;

const _: () = assert!(size_of::<HookSpec>() == 72);
const _: () = assert!(size_of::<TracepointRecord>() == 104);
