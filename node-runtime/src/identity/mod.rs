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
pub use pod::{Container, Owner, Pod, PodContainer};
pub(crate) use pod::{Lenient, PodObject, container_ports_of, host_ips_of, pod_from_object, warn_unreadable};
pub use process::{
    Credentials, ExecKey, KnownProcesses, Located, Process, ProcessChange, ProcessListener, UNKNOWN, UserNamespace,
};
pub use programs::KernelLosses;
pub use service::{ClassSubscription, IdentityService, ProcessLease, ScopeLease, SelectionMaps, Throttle};
pub use watch::ClusterWatch;
