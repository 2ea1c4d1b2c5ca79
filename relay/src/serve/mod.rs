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

pub use connections::{ClientConnection, ConnectionLimits};
pub use path::{Endpoint, Resource};
pub use plain::{accept_plain, serve_metrics};
pub use readiness::Readiness;
pub use request::{App, handle};
pub use server::{accept, serve};
pub use server_tls::{keep_server_config, server_config};
pub use slots::{Slot, Slots};
