//! What the worker takes from itself before it reads anything: capabilities, new privileges, its core, memory, and the
//! system calls that it has no use for. It never gets any of them back.

use std::{collections::BTreeMap, io};

use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
    },
    thread::{CapabilitySet, CapabilitySets},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Descriptors that a worker may hold: files of pods, twice while they are opened, and its own.
pub(super) const DESCRIPTORS: u64 = 640;
/// Address space above the memory limit: mapped files are not the worker's memory, but they need addresses.
const FILES_MAPPED: u64 = 64 << 30;

/// Why a worker did not confine itself; it then ends.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {detail}")]
pub(super) struct ConfineError {
    what: &'static str,
    detail: String,
}

/// Which calls are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Samples and the agent's answers are read; files may be opened for reading, so that `Parse` can be entered.
    Collect,
    /// Bytes that strangers wrote are read: nothing can be opened, found or waited for any more.
    Parse,
}

/// Gives up every capability and the way to new ones; dies with the agent.
pub(super) fn drop_privileges() -> Result<(), ConfineError> {
    let failed = |what| move |error: rustix::io::Errno| ConfineError { what, detail: error.to_string() };
    // It stays at the agent's place among those that the kernel ends when memory is short. A worse one would draw the agent
    // in: the kubelet has a container's cgroup end as a whole. Its own limit on memory is what holds it.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("dying with the agent"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("not being dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("giving up new privileges"))?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // EPERM: without CAP_SETPCAP the set stays, and means nothing to a process that can neither gain nor exec.
            // EINVAL: the last capability that this kernel knows was before this one.
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("emptying the bounding set")(error)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed("emptying the ambient set"))?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed("giving up capabilities"))
}

/// Limits what the worker may hold of memory, descriptors and core files.
pub(super) fn limit(memory_bytes: u64) -> Result<(), ConfineError> {
    let limits = [
        (Resource::Data, memory_bytes),
        (Resource::As, memory_bytes.saturating_add(FILES_MAPPED)),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| ConfineError { what: "limiting the worker", detail: error.to_string() })?;
    }
    Ok(())
}

/// Leaves the calls of a phase and no other; any other kills the worker, which the agent counts.
pub(super) fn filter(phase: Phase) -> Result<(), ConfineError> {
    let failed = |detail: String| ConfineError { what: "filtering system calls", detail };
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(error.to_string()))?;
    let rules = rules(phase).map_err(|error| failed(error.to_string()))?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| failed(error.to_string()))?;
    seccompiler::apply_filter(&filter).map_err(|error| failed(error.to_string()))
}

fn rules(phase: Phase) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let always = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_ppoll,
        libc::SYS_read,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sendmsg,
        libc::SYS_sigaltstack,
        libc::SYS_statx,
        libc::SYS_write,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
    ];
    // What it takes to receive files, open them again by number, and enter the next phase.
    let collect = [libc::SYS_recvmsg, libc::SYS_newfstatat, libc::SYS_prctl, libc::SYS_seccomp];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always.into_iter().map(|call| (call, Vec::new())).collect();
    // A worker may end itself, which is how Rust ends on a broken promise. It has the node's process numbers before it and
    // the same user as everything that runs as root: another thread group than its own is nothing it may signal.
    rules.insert(libc::SYS_tgkill, vec![equal(0, std::process::id().into())?]);
    // Not F_SETOWN and F_SETSIG: they have the kernel send the signals.
    let looked_at = [libc::F_GETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];
    rules.insert(
        libc::SYS_fcntl,
        looked_at.into_iter().map(|what| equal(1, what as u64)).collect::<Result<Vec<_>, _>>()?,
    );
    // Memory is never executable.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![without(2, libc::PROT_EXEC as u64)?]);
    }
    if phase == Phase::Collect {
        rules.extend(collect.into_iter().map(|call| (call, Vec::new())));
        let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
        rules.insert(libc::SYS_openat, vec![without(2, writing as u64)?]);
    }
    Ok(rules)
}

/// The call is allowed when this argument is this number.
fn equal(argument: u8, number: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number)?;
    SeccompRule::new(vec![condition])
}

/// The call is allowed when none of these bits is set in this argument.
fn without(argument: u8, bits: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)?;
    SeccompRule::new(vec![condition])
}

/// An error of the worker's own.
impl From<ConfineError> for io::Error {
    fn from(error: ConfineError) -> Self {
        io::Error::other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Command, ExitStatus},
    };

    use super::*;

    /// What a worker that was taken over tries, by the name that its parent gives it.
    const TRIES: &str = "TRILOBITE_TEST_TAKEN_OVER";
    const ITSELF: &str = "worker::confine::tests::a_worker_that_was_taken_over_can_end_itself_and_nobody_else";

    /// This test again, in a process of its own, confined; and how that process ended.
    fn taken_over(tries: &str, victim: u32) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", ITSELF, "--nocapture"])
            .env(TRIES, format!("{tries} {victim}"))
            .status()
            .unwrap()
    }

    #[allow(unsafe_code, reason = "calls that no safe function makes any more")]
    fn try_it(what: &str) {
        let (what, victim) = what.split_once(' ').unwrap();
        let victim: i32 = victim.parse().unwrap();
        filter(Phase::Parse).unwrap();
        match what {
            // SAFETY: numbers alone; no memory is passed.
            "signal" => drop(unsafe { libc::syscall(libc::SYS_tgkill, victim, victim, libc::SIGKILL) }),
            // SAFETY: as above.
            "owner" => drop(unsafe { libc::fcntl(0, libc::F_SETOWN, victim) }),
            _ => std::process::abort(),
        }
    }

    #[test]
    fn a_worker_that_was_taken_over_can_end_itself_and_nobody_else() {
        if let Ok(what) = std::env::var(TRIES) {
            return try_it(&what);
        }
        let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
        let ends = ["signal", "owner", "abort"].map(|tries| taken_over(tries, victim.id()).signal());
        let lives = victim.try_wait().unwrap().is_none();
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!(ends, [Some(libc::SIGSYS), Some(libc::SIGSYS), Some(libc::SIGABRT)]);
        assert!(lives);
    }
}
