//! Who a process, a cgroup or an address is: its pod, container and workload. One index that every layer reads.

mod cgroup;
mod classes;
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
pub use classes::{Answer, ClassAnswers, ClassListener};
pub(crate) use pod::{
    Address, Lenient, PodObject, addresses, container_ports_of, host_ips_of, pod_from_object, warn_unreadable,
};
pub use pod::{Container, Owner, Pod, PodContainer};
pub use process::{
    Credentials, ExecKey, KnownProcesses, Located, Process, ProcessChange, ProcessListener, TRUNC_ARGS, UNKNOWN,
    UserNamespace,
};
pub use programs::KernelLosses;
pub use service::{ClassSubscription, IdentityService, ProcessLease, ScopeLease, SelectionMaps, Throttle};
pub use watch::ClusterWatch;
