//! A program that does nothing, attached to a raw tracepoint: what every program there costs at least.

#![allow(unsafe_code, reason = "programs are loaded and attached by system calls")]

use std::{
    ffi::CString,
    io,
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

use anyhow::{Context, Result};
use libbpf_sys::{
    BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, bpf_insn, bpf_prog_load, bpf_prog_load_opts, bpf_raw_tracepoint_open,
    libbpf_find_vmlinux_btf_id,
};

/// `r0 = 0` and `exit`.
const CODES: [u8; 2] = [0xb7, 0x95];

/// The attached program. Dropping it detaches it.
pub(crate) struct EmptyProgram {
    _link: OwnedFd,
    _program: OwnedFd,
}

impl EmptyProgram {
    /// Attaches one in the way that the agent prefers: with the tracepoint's types.
    pub(crate) fn attach(tracepoint: &str) -> Result<Self> {
        let name = CString::new(tracepoint)?;
        let instructions = CODES.map(|code| bpf_insn { code, ..bpf_insn::default() });
        // SAFETY: the name ends with a NUL and lives through the call.
        let target = unsafe { libbpf_find_vmlinux_btf_id(name.as_ptr(), BPF_TRACE_RAW_TP) };
        let target =
            u32::try_from(target).with_context(|| format!("the kernel's BTF has no tracepoint {tracepoint}"))?;
        let mut options = bpf_prog_load_opts {
            sz: size_of::<bpf_prog_load_opts>() as libbpf_sys::size_t,
            expected_attach_type: BPF_TRACE_RAW_TP,
            attach_btf_id: target,
            ..bpf_prog_load_opts::default()
        };
        // SAFETY: all pointers are to values that live through the call.
        let loaded = unsafe {
            bpf_prog_load(
                BPF_PROG_TYPE_TRACING,
                c"empty".as_ptr(),
                c"GPL".as_ptr(),
                instructions.as_ptr(),
                instructions.len() as libbpf_sys::size_t,
                &raw mut options,
            )
        };
        let program = descriptor(loaded).context("loading an empty program")?;
        // SAFETY: the tracepoint is that of the program; the descriptor is the one that was just made.
        let link = descriptor(unsafe { bpf_raw_tracepoint_open(ptr::null(), loaded) });
        let link = link.with_context(|| format!("attaching an empty program to {tracepoint}"))?;
        Ok(Self { _link: link, _program: program })
    }
}

/// libbpf answers with a descriptor or a negative error.
fn descriptor(answer: i32) -> io::Result<OwnedFd> {
    if answer < 0 {
        return Err(io::Error::from_raw_os_error(-answer));
    }
    // SAFETY: the kernel has just made it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(answer) })
}
