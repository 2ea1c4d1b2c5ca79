//! Who is this: processes, cgroups and network namespaces to pod, container and workload. One table that every layer reads.

pub mod pod;
pub mod process;

pub use pod::{Container, Owner, Pod, PodContainer};
pub use process::{Credentials, ExecKey, Located, Process};
