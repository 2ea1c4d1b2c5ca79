//! A process image as every layer sees it, and the key that names it across restarts of the agent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arguments::Arguments;
use crate::identity::pod::{Owner, PodContainer};

/// The flag word of a process of which only the key is known, because the record of its exec was lost.
pub const UNKNOWN: &str = "unknown";

/// The flag word of a process whose arguments are not whole.
pub const TRUNC_ARGS: &str = "truncArgs";

/// Names one process image. `ktime` is the start of the thread group leader on the boot clock in nanoseconds, plus the
/// kernel's count of its execs (`self_exec_id`): the task iterator computes the same number later, and two execs of one
/// process differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecKey {
    /// Boot clock in nanoseconds, plus the exec count.
    pub ktime: u64,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
}

/// A user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserNamespace {
    /// 0: the initial one.
    pub level: u32,
    /// User and group that made it, by their ids in the initial one.
    pub owner: u32,
    pub group: u32,
}

/// Credentials at exec, or at fork where no exec followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// Real, effective, saved and file system user ids.
    pub uid: [u32; 4],
    /// Real, effective, saved and file system group ids.
    pub gid: [u32; 4],
    /// Capability sets as bits.
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub securebits: u32,
    /// The capabilities are valid in this one and below.
    pub user_namespace: UserNamespace,
}

/// A process image. Bytes of the kernel that are no UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub key: ExecKey,
    /// Image of the parent at the time of the exec or fork; zero where unknown.
    pub parent: ExecKey,
    /// The thread that called exec.
    pub tid: u32,
    /// Real user id at exec, or at fork where no exec followed.
    pub uid: u32,
    /// Login uid; `u32::MAX` where unset.
    pub auid: u32,
    /// Path of the binary, as the caller of exec named it.
    pub binary: String,
    /// Path of the file that runs, where it is another: of a link its target, of a script its interpreter.
    pub file: Option<Arc<str>>,
    /// The first argument, where it is not the binary's name.
    pub argv0: Option<Arc<str>>,
    /// Each is quoted where it holds white space.
    pub arguments: Arguments,
    /// Working directory.
    pub cwd: String,
    /// Tetragon's flag words, in its order, joined by blanks.
    pub flags: String,
    /// Start of this image: boot clock, nanoseconds.
    pub started_ns: u64,
    /// Leaf cgroup, v2 id.
    pub cgroup: u64,
    pub credentials: Credentials,
    /// Kernel namespaces by inode, in the order uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user.
    pub namespaces: [u32; 10],
    /// Pid inside its own pid namespace.
    pub ns_pid: u32,
    /// The new user id, where the binary was setuid and changed it.
    pub setuid: Option<u32>,
    /// The new group id, where the binary was setgid and changed it.
    pub setgid: Option<u32>,
    /// Capabilities of the file raised the permitted set at exec.
    pub raised_by_file: bool,
    /// Whether it descends from the first process of its container; none where unknown.
    pub in_init_tree: Option<bool>,
    /// Inode and link count of the binary; zero where not read.
    pub inode: (u64, u32),
}

impl Process {
    /// A process of which only the key and the place are known.
    pub fn unknown(key: ExecKey, cgroup: u64) -> Self {
        Self {
            key,
            tid: key.pid,
            auid: u32::MAX,
            flags: UNKNOWN.into(),
            started_ns: key.ktime,
            cgroup,
            ..Self::default()
        }
    }

    /// More than the key is known.
    pub fn is_known(&self) -> bool {
        self.flags != UNKNOWN
    }
}

/// A process together with the pod in which it runs, as an event carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    pub process: Arc<Process>,
    /// Pod and container; none for a process of the host.
    pub pod: Option<Arc<PodContainer>>,
}

impl Located {
    pub fn new(process: Arc<Process>, owner: Owner) -> Self {
        let pod = match owner {
            Owner::Pod(found) | Owner::Unnamed(found) => Some(found),
            Owner::Host | Owner::Unknown | Owner::Elsewhere => None,
        };
        Self { process, pod }
    }
}
