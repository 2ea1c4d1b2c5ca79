//! The faces of the agent, one folder each, on one unix socket.

pub mod proto;
pub mod protojson;
