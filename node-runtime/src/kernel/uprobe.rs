//! Probes at instructions of programs and libraries, by `uprobe.multi` alone (6.6 and later): the classic kind is a perf event, for
//! which kernels since July 2025 want CAP_SYS_ADMIN. Places are offsets in a file that the agent has opened itself.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use libbpf_rs::{ProgramMut, UprobeMultiOpts};

use super::{
    Link, UprobeAccess,
    attach::{FunctionEnd, attach},
};
use crate::problem::Problem;

/// An instruction that is probed, and what the program is told there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePlace {
    /// Offset in the file.
    pub offset: u64,
    pub cookie: u64,
}

/// To places in a file, by one link, which keeps the file's inode. At `FunctionEnd::Return` a place is the entry of a function whose
/// return is probed.
pub fn to_uprobe_multi(
    program: &ProgramMut<'_>,
    file: BorrowedFd<'_>,
    places: &[ProbePlace],
    end: FunctionEnd,
) -> Result<Link, Problem> {
    let target = format!("uprobe.multi of {} places", places.len());
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Offsets and not symbols: libbpf 1.7 fails to find symbols in libraries that have none but the dynamic ones.
    let opts = UprobeMultiOpts {
        offsets: places.iter().map(|place| place.offset as usize).collect(),
        cookies: places.iter().map(|place| place.cookie).collect(),
        retprobe: end == FunctionEnd::Return,
        ..UprobeMultiOpts::default()
    };
    attach(program, &target, || program.attach_uprobe_multi_with_opts(-1, &path, "", opts))
}

/// Asks the kernel, by a program that does nothing and a file that cannot be probed.
pub fn access() -> UprobeAccess {
    let program = match load_empty_program() {
        Ok(program) => program,
        Err(error) => return refused(error.raw_os_error()),
    };
    let offset: libc::c_ulong = 0;
    let mut options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        ..Default::default()
    };
    options.__bindgen_anon_1.uprobe_multi = libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
        path: c"/".as_ptr(),
        offsets: &raw const offset,
        cnt: 1,
        ..Default::default()
    };
    let kind = libbpf_sys::BPF_TRACE_UPROBE_MULTI;
    // SAFETY: the options contain their size, and what they point to outlives the call.
    let answer = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), -1, kind, &raw const options) };
    // The kernel came as far as to see that this is no regular file.
    if answer == -libc::EBADF { UprobeAccess::Allowed } else { refused(Some(-answer)) }
}

fn load_empty_program() -> io::Result<OwnedFd> {
    let instruction = |code| libbpf_sys::bpf_insn { code, ..Default::default() };
    // r0 = 0; exit
    let instructions = [instruction(0xb7), instruction(0x95)];
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        expected_attach_type: libbpf_sys::BPF_TRACE_UPROBE_MULTI,
        ..Default::default()
    };
    // SAFETY: all pointers are to values that outlive the call, and the options contain their size.
    let answer = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_KPROBE,
            c"uprobe_access".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as _,
            ptr::from_mut(&mut options),
        )
    };
    if answer < 0 {
        return Err(io::Error::from_raw_os_error(-answer));
    }
    // SAFETY: a new descriptor, and this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(answer) })
}

fn refused(errno: Option<i32>) -> UprobeAccess {
    match errno {
        Some(libc::EPERM | libc::EACCES) => UprobeAccess::Forbidden,
        _ => UprobeAccess::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Release, probe};

    #[test]
    fn access_is_that_of_the_release() {
        let expected = match probe::release() {
            release if release < Release { major: 6, minor: 6 } => UprobeAccess::Missing,
            _ => UprobeAccess::Allowed,
        };
        // Without privilege the kernel refuses any program.
        let may_load = load_empty_program().is_ok() || expected == UprobeAccess::Missing;
        assert_eq!(access(), if may_load { expected } else { UprobeAccess::Forbidden });
    }
}
