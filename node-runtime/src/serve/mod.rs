//! The agent's gRPC services, a folder for each API, on one unix socket. Clients outside the node reach it by `kubectl
//! exec` of the `proxy` command: no port is open.

pub mod hubble;
pub mod profiles;
pub mod router;
pub mod socket;
pub mod tetragon;
