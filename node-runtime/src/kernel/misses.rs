//! Calls that the kernel skipped (`recursion_misses`): the program was already running on that CPU or, for programs on perf events
//! (classic tracepoints, samples), another such program or a map update was. No other counter includes them.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Skipped calls since the program was loaded; 0 where the kernel does not count them: before 5.12, for classic tracepoints
/// before 6.7, and for perf events on every release.
pub fn recursion_misses(program: BorrowedFd<'_>) -> u64 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: the kernel fills at most `bytes` of the struct, which lives through the call; nothing in it points anywhere.
    let answer =
        unsafe { libbpf_sys::bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &raw mut bytes) };
    if answer == 0 { info.recursion_misses } else { 0 }
}
