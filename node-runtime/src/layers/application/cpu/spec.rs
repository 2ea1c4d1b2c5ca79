//! What a CPU profile is asked for, and its status: the types that session, driver and layer share.

use std::path::PathBuf;

use jiff::Timestamp;

use super::deliver::ProfileMeta;
use crate::{
    layers::{application::membership::Membership, worker::WorkerProgram},
    problem::Problem,
};

/// The pods that are profiled.
pub struct ProfileTarget {
    /// Called for cgroups that the kernel program could not decide about.
    pub membership: Box<dyn Fn(u64) -> Membership + Send>,
    /// The pods that are selected now.
    pub pods: Box<dyn Fn() -> Vec<ProfiledPod> + Send>,
    /// `pod/container` of a cgroup; none as long as its pod is not known.
    pub container_name: Box<dyn Fn(u64) -> Option<String> + Send>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfiledPod {
    /// `namespace/name`.
    pub name: String,
    /// Limit of its CPU time in thousandths of a processor; none without a limit.
    pub cpu_limit_millis: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// `namespace/name` of the AppProfile.
    pub name: String,
    /// Name of this node.
    pub node: String,
    /// The resource in whose name losses are recorded.
    pub source: String,
    /// When the profile ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Memory of ring, worker and result together.
    pub budget_bytes: u64,
    pub worker: WorkerProgram,
    /// Root of the host's cgroup v2 tree.
    pub cgroup_root: PathBuf,
}

#[derive(Clone, Debug, Default)]
pub struct SessionStatus {
    /// Metadata of the profile, with the counts so far.
    pub meta: ProfileMeta,
    /// Process id of the worker; 0 if none runs.
    pub worker: u32,
    /// The result is stored or given up; nothing of the profile runs any more.
    pub finished: bool,
    /// A result is stored, which may hold nothing but a problem.
    pub stored: bool,
    /// A problem that does not end the profile, or the one that ended it.
    pub problem: Option<Problem>,
    /// Why the stored result was not written when it was made; it is over once the result is written.
    pub kept_in_memory: Option<Problem>,
}
