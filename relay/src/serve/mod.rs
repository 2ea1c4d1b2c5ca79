//! HTTPS: the aggregated API as the API server and its clients expect it.

mod connections;
mod discovery;
mod openapi;
mod path;
mod plain;
mod readiness;
mod request;
mod server;
mod server_tls;
mod slots;
mod write_timeout;

pub(crate) use connections::StrangerPlace;
pub use connections::{ClientConnection, ConnectionLimits};
pub use path::{Endpoint, Resource};
pub use plain::{accept_plain, serve_metrics};
pub use readiness::Readiness;
pub(crate) use readiness::listen;
pub use request::{App, handle};
pub(crate) use server::{ConnectionError, accept_each, with_timeouts};
pub use server::{accept, serve};
pub use server_tls::{ServerTlsError, keep_server_config, server_config};
pub(crate) use server_tls::{is_trusted, peer, tls_config};
pub use slots::{Slot, Slots};
