//! Perf events: what samples a processor. Opening one is not part of bpf(2) and has a lock of its own, the paranoid level.

use std::{
    fs, io,
    os::fd::{FromRawFd, OwnedFd},
};

use crate::report::Problem;

/// `kernel.perf_event_paranoid`; 2, the kernel's own default, where it cannot be read.
pub fn paranoid() -> i32 {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(2)
}

/// The problem for a refused `perf_event_open`, by its errno.
pub(super) fn refused(errno: i32) -> Problem {
    match errno {
        libc::EACCES | libc::EPERM => Problem::PerfParanoid { level: paranoid() },
        other => Problem::LoadFailed {
            what: "opening a perf event".into(),
            detail: io::Error::from_raw_os_error(other).to_string(),
        },
    }
}

/// A software clock that ticks `frequency_hz` times a second on one processor, for every task, kernel included.
pub fn cpu_clock(cpu: u32, frequency_hz: u32) -> Result<OwnedFd, Problem> {
    let mut attributes = libbpf_sys::perf_event_attr {
        type_: libbpf_sys::PERF_TYPE_SOFTWARE,
        size: size_of::<libbpf_sys::perf_event_attr>() as u32,
        config: libbpf_sys::PERF_COUNT_SW_CPU_CLOCK.into(),
        ..Default::default()
    };
    attributes.__bindgen_anon_1.sample_freq = frequency_hz.into();
    attributes.set_freq(1);
    let every_task = -1;
    let no_group = -1;
    // SAFETY: the attributes live through the call; the answer is a descriptor of our own or an error.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            every_task,
            cpu.cast_signed(),
            no_group,
            libc::c_long::from(libbpf_sys::PERF_FLAG_FD_CLOEXEC as i32),
        )
    };
    if fd < 0 {
        return Err(refused(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)));
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
