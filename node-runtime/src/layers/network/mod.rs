//! Who talks to whom: the TCP and UDP flows of chosen pods.

mod captured;
pub mod connection;
pub mod directory;
pub mod end;
pub mod engine;
pub mod enrich;
pub mod flow;
pub mod history;
mod layer;
mod metrics;
pub mod netlink;
pub mod numeric;
mod outlet;
mod party;
mod place;
pub mod record;
mod servers;
mod state;
pub mod sums;
pub mod tap;
mod targets;
pub mod tcp_flags;
pub mod unit;

pub use layer::Network;
