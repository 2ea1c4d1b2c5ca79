//! The worker confines itself before it reads anything: no capabilities, no new privileges, no core file, limited memory, and a
//! seccomp filter that leaves the system calls it needs. None of it can be undone.

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

/// Limit of open file descriptors: twice `OPEN_FILES_MAX`, because each file is opened a second time by path, and the worker's own.
const DESCRIPTORS_MAX: u64 = 640;
/// Address space above the memory limit, for mapped files.
const MAPPED_FILES_MAX: u64 = 64 << 30;

/// A step of the confinement failed; the worker ends.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {detail}")]
pub(crate) struct ConfineError {
    what: &'static str,
    detail: String,
}

/// What the worker does, which decides the system calls that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reads samples and the agent's messages; may open files for reading, and enter `Parse`.
    Collect,
    /// Parses files of pods; cannot open or receive anything.
    Parse,
    /// Reads a ring and answers the agent's messages; cannot open anything.
    Serve,
}

/// Gives up every capability and every way to new ones. The worker dies with the agent.
pub(crate) fn drop_privileges() -> Result<(), ConfineError> {
    let failed = |what| move |error: rustix::io::Errno| ConfineError { what, detail: error.to_string() };
    // oom_score_adj stays the agent's. With a higher one the kernel would choose the worker first, and the agent would die with it,
    // because the kubelet has a container's cgroup killed as a whole. The worker has its own memory limit instead.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("asking to die with the agent"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("becoming not dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("giving up new privileges"))?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // EPERM: without CAP_SETPCAP the set stays. It has no effect on a process that can neither gain privileges nor exec.
            // EINVAL: this kernel does not know the capability.
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("emptying the bounding set")(error)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed("emptying the ambient set"))?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed("giving up capabilities"))
}

/// Limits memory, file descriptors, core files and written files.
pub(crate) fn limit_resources(memory_bytes: u64) -> Result<(), ConfineError> {
    let limits = [
        (Resource::Data, memory_bytes),
        (Resource::As, memory_bytes.saturating_add(MAPPED_FILES_MAX)),
        (Resource::Nofile, DESCRIPTORS_MAX),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
            .map_err(|error| ConfineError { what: "limiting resources", detail: error.to_string() })?;
    }
    Ok(())
}

/// Allows the system calls of a phase. Any other kills the worker, which the agent notices and counts.
pub(crate) fn filter_system_calls(phase: Phase) -> Result<(), ConfineError> {
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
    // To receive files, open them again by number, and enter the next phase.
    let collect = [libc::SYS_recvmsg, libc::SYS_newfstatat, libc::SYS_prctl, libc::SYS_seccomp];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always.into_iter().map(|call| (call, Vec::new())).collect();
    // abort(3) needs a signal to the own thread group. The worker runs as root in the node's pid namespace, so it must not be able
    // to signal any other.
    rules.insert(libc::SYS_tgkill, vec![equal(0, std::process::id().into())?]);
    // Without F_SETOWN and F_SETSIG, by which the kernel would send signals for the worker.
    let allowed_commands = [libc::F_GETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];
    rules.insert(
        libc::SYS_fcntl,
        allowed_commands.into_iter().map(|command| equal(1, command as u64)).collect::<Result<Vec<_>, _>>()?,
    );
    // Memory is never executable.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![without(2, libc::PROT_EXEC as u64)?]);
    }
    match phase {
        Phase::Collect => {
            rules.extend(collect.into_iter().map(|call| (call, Vec::new())));
            let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
            rules.insert(libc::SYS_openat, vec![without(2, writing as u64)?]);
        }
        Phase::Serve => drop(rules.insert(libc::SYS_recvmsg, Vec::new())),
        Phase::Parse => {}
    }
    Ok(rules)
}

/// Allows the call if the argument is this number.
fn equal(argument: u8, number: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number)?;
    SeccompRule::new(vec![condition])
}

/// Allows the call if none of these bits is set in the argument.
fn without(argument: u8, bits: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)?;
    SeccompRule::new(vec![condition])
}

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

    /// The phases in which bytes of pods are parsed.
    const PHASES: [(&str, Phase); 2] = [("parse", Phase::Parse), ("serve", Phase::Serve)];
    /// Environment variable that names the phase and the attack to a confined process of this test.
    const ATTACK: &str = "TRILOBITE_TEST_ATTACK";
    const THIS_TEST: &str = "confine::tests::hijacked_worker_can_end_itself_and_no_other_process";

    /// Runs this test again in a confined process, and returns how that process ended.
    fn attack_in_confinement(phase: &str, attack: &str, victim: u32) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", THIS_TEST, "--nocapture"])
            // As the agent starts a worker: with RUST_BACKTRACE a panic would open files.
            .env_clear()
            .env(ATTACK, format!("{phase} {attack} {victim}"))
            .status()
            .unwrap()
    }

    #[allow(unsafe_code, reason = "no safe function makes these calls")]
    fn attack(words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let phase = PHASES.into_iter().find(|(name, _)| *name == words[0]).unwrap().1;
        let victim: i32 = words[2].parse().unwrap();
        filter_system_calls(phase).unwrap();
        match words[1] {
            // SAFETY: all arguments are numbers.
            "signal" => drop(unsafe { libc::syscall(libc::SYS_tgkill, victim, victim, libc::SIGKILL) }),
            // SAFETY: as above.
            "owner" => drop(unsafe { libc::fcntl(0, libc::F_SETOWN, victim) }),
            // SAFETY: as above.
            "connect" => drop(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }),
            "open" => drop(std::fs::File::open("/dev/null")),
            "panic" => {
                let caught = std::panic::catch_unwind(|| panic!("caught on purpose")).is_err();
                std::process::exit(if caught { 0 } else { 1 });
            }
            _ => std::process::abort(),
        }
    }

    #[test]
    fn confined_worker_can_catch_a_panic() {
        assert_eq!(PHASES.map(|(phase, _)| attack_in_confinement(phase, "panic", 0).code()), [Some(0); 2]);
    }

    #[test]
    fn hijacked_worker_can_end_itself_and_no_other_process() {
        if let Ok(words) = std::env::var(ATTACK) {
            return attack(&words);
        }
        let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
        let attacks = ["signal", "owner", "connect", "open", "abort"];
        let ends = PHASES.map(|(phase, _)| attacks.map(|one| attack_in_confinement(phase, one, victim.id()).signal()));
        let alive = victim.try_wait().unwrap().is_none();
        victim.kill().unwrap();
        victim.wait().unwrap();
        let refused = Some(libc::SIGSYS);
        assert_eq!(ends, [[refused, refused, refused, refused, Some(libc::SIGABRT)]; 2]);
        assert!(alive);
    }
}
