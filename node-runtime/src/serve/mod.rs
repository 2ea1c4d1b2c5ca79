//! The agent's gRPC services, a folder for each API, on one unix socket. Clients outside the node reach it by `kubectl
//! exec` of the `proxy` command; a port is open only while a relay is wanted.

pub mod hubble;
#[cfg(test)]
mod message_fields;
pub mod port;
mod port_client;
pub mod profiles;
pub mod read_rows;
pub mod requests;
pub mod router;
mod scope;
pub mod socket;
pub mod tetragon;
mod timestamps;
