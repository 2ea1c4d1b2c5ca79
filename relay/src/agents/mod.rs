//! The agents: which nodes have one, and one gRPC connection to each, by TLS with certificates on both sides.

mod client_tls;
mod connection;
mod discovery;
mod pool;

pub(crate) use client_tls::provider;
pub use client_tls::{TlsError, client_config, keep_client_config};
pub use connection::AgentError;
pub use discovery::{Addresses, watch_agents};
pub use pool::{AgentPool, Connected};
