//! Perf events that sample a CPU: opened, and a program attached to them.

use std::{
    fs, io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use libbpf_rs::ProgramMut;

use super::{
    Link, attach,
    perf_paranoid::{is_refusal, refused},
};
use crate::problem::Problem;

/// Tries to open an event: the sysctl alone does not say what this kernel allows this process.
pub fn is_refused() -> bool {
    let cpu = online().first().copied().unwrap_or(0);
    open(cpu, 1).is_err_and(|error| is_refusal(error.raw_os_error().unwrap_or_default()))
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

/// Attaches a program to a software CPU clock that fires `frequency_hz` times a second on one CPU, for every task, kernel code
/// included. The link keeps the event open.
pub fn attach_cpu_clock(program: &ProgramMut<'_>, cpu: u32, frequency_hz: u32) -> Result<Link, Problem> {
    let event = open(cpu, frequency_hz).map_err(|error| refused(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
    let link = attach::attach(program, "a perf event", || program.attach_perf_event(event.as_raw_fd()))?;
    // libbpf closes the event when the link is destroyed.
    mem::forget(event);
    Ok(link)
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
    fn cpu_list_may_have_gaps() {
        assert_eq!(ranges("0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(ranges("0\n"), [0]);
    }
}
