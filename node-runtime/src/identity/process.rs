//! A process image as every layer sees it, and the key that names it across restarts of the agent.

use std::sync::Arc;

/// Names one process image. `ktime` is the start of the thread group leader on the boot clock in nanoseconds, plus the
/// kernel's count of its execs (`self_exec_id`): a task iterator finds the same number later, and two execs of one
/// process differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecKey {
    /// Boot clock, nanoseconds, plus the exec count.
    pub ktime: u64,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
}

/// Credentials at exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective, saved, file system user ids.
    pub uid: [u32; 4],
    /// Real, effective, saved, file system group ids.
    pub gid: [u32; 4],
    /// Capability sets as bits.
    pub permitted: u64,
    /// Capability sets as bits.
    pub effective: u64,
    /// Capability sets as bits.
    pub inheritable: u64,
    /// `securebits` of the credentials.
    pub securebits: u32,
}

/// A process image. Strings are what the kernel had, lossily as UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Who it is.
    pub key: ExecKey,
    /// Its parent's image at the time; zero where unknown.
    pub parent: ExecKey,
    /// The thread that called exec.
    pub tid: u32,
    /// Real user id at exec.
    pub uid: u32,
    /// Login uid; `u32::MAX` where unset.
    pub auid: u32,
    /// Path of the binary.
    pub binary: String,
    /// Arguments without the first, each quoted where it holds white space, joined by blanks.
    pub arguments: String,
    /// Working directory.
    pub cwd: String,
    /// Tetragon's flag words, in its order, joined by blanks.
    pub flags: String,
    /// Start of this image, boot clock, nanoseconds.
    pub started_ns: u64,
    /// Leaf cgroup, v2 id.
    pub cgroup: u64,
    /// Credentials at exec.
    pub credentials: Credentials,
    /// Kernel namespaces by inode, in the order uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user.
    pub namespaces: [u32; 10],
    /// Pid inside its own pid namespace.
    pub ns_pid: u32,
    /// The binary was setuid or setgid, or gained privileges.
    pub setuid: Option<u32>,
    /// See `setuid`.
    pub setgid: Option<u32>,
    /// It descends from the first process of its container; none where that is not known.
    pub in_init_tree: Option<bool>,
    /// Inode and links of the binary, zero where not read.
    pub inode: (u64, u32),
}

/// A process together with where it runs, as an event carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The process image.
    pub process: Arc<Process>,
    /// Its pod and container; none for a process of the host.
    pub pod: Option<Arc<super::pod::PodContainer>>,
}
