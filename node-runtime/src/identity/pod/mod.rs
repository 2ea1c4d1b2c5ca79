//! Pods and containers of this node: what is kept of the API server's objects.

mod lenient;
mod model;
mod object;

pub(crate) use lenient::{Lenient, warn_unreadable};
pub use model::{Container, Owner, Pod, PodContainer};
pub(crate) use object::{Address, PodObject, addresses, container_ports_of, host_ips_of, pod_from_object};
