//! Calls of a program that the kernel left out: it was running on that processor already, or, where a perf event is
//! underneath (a classic tracepoint, a sample), any other program of this kind, or a change of a map. Nobody else counts them.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Calls that were left out since the program was loaded; 0 where the kernel does not count them: before 5.12, of a classic
/// tracepoint before 6.7, and of a perf event on any.
pub fn recursion_misses(program: BorrowedFd<'_>) -> u64 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: the kernel fills at most `bytes` of the struct, which lives through the call; nothing in it points anywhere.
    let answer =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &raw mut bytes) };
    if answer == 0 { info.recursion_misses } else { 0 }
}
