//! Values of filters: how the texts of a policy are read. Check, evaluator and the nodes' compiler share these functions.

mod capability;
mod file_type;
mod network;
mod number;

pub use capability::{CAPABILITY_NAMES, capability, capability_mask};
pub use file_type::{FILE_TYPE_BITS, file_type};
pub use network::{Cidr, family, port_range, protocol, tcp_state};
pub use number::{NumberRange, number, range};

/// Value of matchNamespaces that means the host's namespace.
pub const HOST_NAMESPACE: &str = "host_ns";
/// Prefix of a value, or of `call`, that names a list.
pub const LIST_PREFIX: &str = "list:";
/// Ports below this one are privileged.
pub const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

#[cfg(test)]
mod tests;
