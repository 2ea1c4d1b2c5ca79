//! Who is this: processes, cgroups and network namespaces to pod, container and workload. One table that every layer reads.

pub mod cgroup_map;
mod cgroups;
mod changes;
pub mod decode;
mod descent;
mod follow;
mod handle;
pub mod index;
mod lease;
pub mod place;
pub mod pod;
pub mod pods;
pub mod process;
pub mod processes;
mod procfs;
mod prune;
mod readable;
pub mod slots;
mod trouble;
mod walk;
mod watched;
mod written;

pub use changes::{Listener, Pace, ProcessChange};
pub use follow::Losses;
pub use handle::Identity;
pub use lease::{ProcessLease, Slot};
pub use pod::{Container, Owner, Pod, PodContainer};
pub use pods::ClusterWatch;
pub use process::{Credentials, ExecKey, Located, Process};
pub(crate) use prune::owner_of;
pub(crate) use readable::{Readable, say_unread};
