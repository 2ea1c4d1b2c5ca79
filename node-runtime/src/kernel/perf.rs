//! Perf events that sample a CPU. `perf_event_open` has a permission check of its own: kernel.perf_event_paranoid.

use std::{
    fs, io,
    os::fd::{FromRawFd, OwnedFd},
};

use crate::problem::Problem;

/// Upstream's strictest level. Debian and Ubuntu patch in higher ones, which ask for CAP_SYS_ADMIN.
const UPSTREAM_MAX_LEVEL: i32 = 2;

/// `kernel.perf_event_paranoid`; 2, upstream's default, when it cannot be read.
pub fn paranoid() -> i32 {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(2)
}

/// Tries to open an event: the sysctl alone does not say what this kernel allows this process.
pub fn is_refused() -> bool {
    let cpu = online().first().copied().unwrap_or(0);
    open(cpu, 1).is_err_and(|error| is_refusal(error.raw_os_error().unwrap_or_default()))
}

/// Why an event is refused at this level.
pub fn refusal(level: i32) -> Problem {
    if level > UPSTREAM_MAX_LEVEL {
        return Problem::PerfParanoid { level };
    }
    Problem::LoadFailed {
        what: "opening a perf event".into(),
        detail: format!("forbidden though kernel.perf_event_paranoid is {level}, by seccomp or a security module"),
    }
}

/// The problem for a refused `perf_event_open`, by its errno.
pub(super) fn refused(errno: i32) -> Problem {
    if is_refusal(errno) {
        return refusal(paranoid());
    }
    Problem::LoadFailed { what: "opening a perf event".into(), detail: io::Error::from_raw_os_error(errno).to_string() }
}

fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EACCES | libc::EPERM)
}

/// Online CPUs.
pub fn online() -> Vec<u32> {
    let list = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_else(|_| "0".to_owned());
    ranges(&list)
}

/// Parses the kernel's list format, e.g. `0-3,6`.
fn ranges(list: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    list.split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((first, last)) => Some(number(first)?..=number(last)?),
            None => number(part).map(|only| only..=only),
        })
        .flatten()
        .collect()
}

/// Opens a software CPU clock that fires `frequency_hz` times a second on one CPU, for every task, kernel code included.
pub fn cpu_clock(cpu: u32, frequency_hz: u32) -> Result<OwnedFd, Problem> {
    open(cpu, frequency_hz).map_err(|error| refused(error.raw_os_error().unwrap_or(libc::EINVAL)))
}

fn open(cpu: u32, frequency_hz: u32) -> io::Result<OwnedFd> {
    let mut attributes = libbpf_sys::perf_event_attr {
        type_: libbpf_sys::PERF_TYPE_SOFTWARE,
        size: size_of::<libbpf_sys::perf_event_attr>() as u32,
        config: libbpf_sys::PERF_COUNT_SW_CPU_CLOCK.into(),
        ..Default::default()
    };
    attributes.__bindgen_anon_1.sample_freq = frequency_hz.into();
    attributes.set_freq(1);
    attributes.set_exclude_idle(1);
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
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened and owned by no other value.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_is_blamed_only_where_it_can_be_the_cause() {
        assert_eq!(refusal(3), Problem::PerfParanoid { level: 3 });
        let by_another = refusal(2).message();
        assert!(by_another.contains("though kernel.perf_event_paranoid is 2, by seccomp"), "{by_another}");
    }

    #[test]
    fn cpu_list_may_have_gaps() {
        assert_eq!(ranges("0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(ranges("0\n"), [0]);
    }
}
