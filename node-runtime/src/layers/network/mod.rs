//! Who talks to whom: the TCP and UDP flows of chosen pods.

mod clock;
pub mod connection;
pub mod directory;
pub mod end;
pub mod engine;
pub mod enrich;
pub mod flow;
pub mod history;
pub mod netlink;
pub mod numeric;
pub mod record;
pub mod sums;
pub mod tap;
pub mod tcp_flags;
