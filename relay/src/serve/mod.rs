//! HTTPS: the aggregated API as the API server and its clients expect it.

mod discovery;
mod openapi;
mod path;
mod readiness;
mod request;
mod server;
mod server_tls;
mod slots;

pub use path::{Endpoint, Resource};
pub use readiness::{Readiness, serve_metrics};
pub use request::{App, handle};
pub use server::{accept, serve};
pub use server_tls::{keep_server_config, server_config};
pub use slots::{Slot, Slots};
