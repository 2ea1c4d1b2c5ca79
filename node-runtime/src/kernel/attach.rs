//! Attaches programs: as their section says, to tracepoints, to interfaces. Runs iterators. `perf.rs` attaches to perf events.

use std::{
    io::{self, Read},
    mem, ptr,
};

use libbpf_rs::{AsRawLibbpf, Iter, KprobeMultiOpts, KprobeOpts, ProgramMut};

use super::{Link, log, perf_paranoid, refusal::errno};
use crate::problem::Problem;

/// As the program's section says.
pub fn by_section(program: &ProgramMut<'_>) -> Result<Link, Problem> {
    let target = program.section().to_string_lossy().into_owned();
    attach(program, &target, || program.attach())
}

/// To a classic tracepoint, whatever the section names.
pub fn to_tracepoint(program: &ProgramMut<'_>, category: &str, event: &str) -> Result<Link, Problem> {
    let custom = libbpf_rs::TracepointCategory::Custom(category.to_owned());
    attach(program, &format!("tp/{category}/{event}"), || program.attach_tracepoint(custom, event))
}

/// To a raw tracepoint, whatever the section names.
pub fn to_raw_tracepoint(program: &ProgramMut<'_>, event: &str) -> Result<Link, Problem> {
    attach(program, &format!("raw_tp/{event}"), || program.attach_raw_tracepoint(event))
}

/// Which end of a function a probe is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionEnd {
    Entry,
    Return,
}

/// To one end of a function, by a perf event. The program is told the cookie where it is not 0 (5.15 and later).
pub fn to_kprobe(program: &ProgramMut<'_>, end: FunctionEnd, function: &str, cookie: u64) -> Result<Link, Problem> {
    let opts = KprobeOpts { cookie, ..KprobeOpts::default() };
    let at_return = end == FunctionEnd::Return;
    attach(program, &format!("kprobe/{function}"), || program.attach_kprobe_with_opts(at_return, function, opts))
}

/// To one end of functions by one link. A program is told the cookie of the function that was called: its index + 1.
pub fn to_kprobe_multi(program: &ProgramMut<'_>, end: FunctionEnd, functions: &[&str]) -> Result<Link, Problem> {
    let target = format!("kprobe.multi of {} functions", functions.len());
    let opts = KprobeMultiOpts {
        symbols: functions.iter().map(|name| (*name).to_owned()).collect(),
        cookies: (1..=functions.len() as u64).collect(),
        retprobe: end == FunctionEnd::Return,
        ..KprobeMultiOpts::default()
    };
    attach(program, &target, || program.attach_kprobe_multi_with_opts(opts))
}

/// To an interface, before the programs that are there: a program that does not return `TCX_NEXT` ends the chain, and those
/// of a CNI do. `SEC("tcx/ingress")` or `SEC("tcx/egress")`.
pub fn to_tcx(program: &ProgramMut<'_>, ifindex: u32) -> Result<Link, Problem> {
    // With no program named, the place before all.
    let first = libbpf_sys::bpf_tcx_opts {
        sz: mem::size_of::<libbpf_sys::bpf_tcx_opts>() as libbpf_sys::size_t,
        flags: libbpf_sys::BPF_F_BEFORE,
        ..Default::default()
    };
    attach(program, &format!("interface {ifindex}"), || {
        // SAFETY: the program belongs to a loaded object that the caller borrows; the options contain their size and outlive
        // the call.
        let pointer = unsafe {
            libbpf_sys::bpf_program__attach_tcx(
                program.as_libbpf_object().as_ptr(),
                ifindex.cast_signed(),
                &raw const first,
            )
        };
        // Before anything else can overwrite errno.
        let error = io::Error::last_os_error();
        let pointer = ptr::NonNull::new(pointer).ok_or_else(|| libbpf_rs::Error::from(error))?;
        // SAFETY: libbpf has just made this link, and this is its only owner.
        Ok(unsafe { libbpf_rs::Link::from_ptr(pointer) })
    })
}

pub(super) fn attach(
    program: &ProgramMut<'_>,
    target: &str,
    work: impl FnOnce() -> libbpf_rs::Result<libbpf_rs::Link>,
) -> Result<Link, Problem> {
    let (link, warnings) = log::with_warnings(work);
    link.map(|link| Link::new(link, program)).map_err(|error| not_attached(program, target, &error, &warnings))
}

fn not_attached(program: &ProgramMut<'_>, target: &str, error: &libbpf_rs::Error, warnings: &[String]) -> Problem {
    let number = errno(error);
    if matches!(number, libc::EACCES | libc::EPERM)
        && (target.starts_with("tp/") || target.starts_with("kprobe/") || target.contains("perf event"))
    {
        return perf_paranoid::refused(number);
    }
    let words = io::Error::from_raw_os_error(number).to_string();
    let detail = match warnings.first() {
        Some(line) => format!("{words}: {}", line.trim()),
        None => words,
    };
    Problem::LoadFailed { what: format!("attaching {} to {target}", program.name().to_string_lossy()), detail }
}

/// Runs an iterator to its end and returns what it wrote.
pub fn iterate(program: &ProgramMut<'_>) -> Result<Vec<u8>, Problem> {
    let link = by_section(program)?;
    let mut written = Vec::new();
    let read = Iter::new(link.inner()).and_then(|mut iter| Ok(iter.read_to_end(&mut written)?));
    read.map_err(|error| Problem::LoadFailed {
        what: format!("running iterator {}", program.name().to_string_lossy()),
        detail: error.to_string(),
    })?;
    Ok(written)
}
