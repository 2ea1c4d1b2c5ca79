//! A CPU sample as it leaves the kernel; `bpf/include/sample.h` has the same.

use crate::record::Record;

/// Whose cgroup it is was not known at the tick.
pub const SAMPLE_UNDECIDED: u32 = 1;
/// A stack has more frames than are taken.
pub const SAMPLE_TOO_DEEP: u32 = 2;
/// The user stack ends at once: a binary without frame pointers, or the root itself.
pub const SAMPLE_SHORT: u32 = 4;

/// Keys of the map `counts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SampleCount {
    /// Ticks that were meant for the ring.
    Seen = 0,
    /// Of them, those that found it full.
    Lost = 1,
}

/// What comes before the addresses: the kernel's stack, then the program's, innermost frame first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SampleHead {
    /// As every record.
    pub record: Record,
    /// Name of the thread.
    pub comm: [u8; 16],
    /// `SAMPLE_*`.
    pub flags: u32,
    /// Bytes of the kernel's stack.
    pub kernel_bytes: u32,
    /// Bytes of the program's stack.
    pub user_bytes: u32,
    /// Thread group id as the agent's `/proc` shows it; 0 where it does not.
    pub proc_pid: u32,
}

const _: () = assert!(size_of::<SampleHead>() == 88);
