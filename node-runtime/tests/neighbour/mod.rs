//! A packet program of somebody else.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

/// A program that passes each packet and hides it from later programs: `return TC_ACT_OK`.
pub(crate) fn ends_the_chain() -> OwnedFd {
    let word = |code: u32| libbpf_sys::bpf_insn { code: code as u8, ..libbpf_sys::bpf_insn::default() };
    let program = [
        word(libbpf_sys::BPF_ALU64 | libbpf_sys::BPF_MOV | libbpf_sys::BPF_K),
        word(libbpf_sys::BPF_JMP | libbpf_sys::BPF_EXIT),
    ];
    // SAFETY: the words live through the call; the licence is text that ends with zero; no options.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            c"neighbour".as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as libbpf_sys::size_t,
            ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made this descriptor and gives it to us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
