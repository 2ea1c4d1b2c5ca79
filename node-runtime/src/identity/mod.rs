//! Who a process, a cgroup or an address is: its pod, container and workload. One index that every layer reads.

mod cgroup;
pub mod decode;
pub mod index;
pub mod pending;
mod pod;
pub mod process;
mod programs;
pub mod selection;
mod service;
mod watch;

pub(crate) use cgroup::kernel_map::create_cgroup_map;
pub use pod::{Container, Owner, Pod, PodContainer};
pub(crate) use pod::{Lenient, warn_unreadable, workload_of};
pub use process::{
    Credentials, ExecKey, KnownProcesses, Located, Process, ProcessChange, ProcessListener, UNKNOWN, UserNamespace,
};
pub use programs::KernelLosses;
pub use service::{IdentityService, ProcessLease, SelectorLease, Throttle};
pub use watch::ClusterWatch;
