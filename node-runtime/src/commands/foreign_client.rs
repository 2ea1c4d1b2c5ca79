//! What `tetra` and `hubble` have in common: the address of their server, and the end of a pipe.

use std::{env, io};

/// The agent's socket, inside its pod.
const SOCKET: &str = "/run/trilobite/agent.sock";

/// What gRPC connects to: the named server, or the agent of this pod.
pub(super) fn endpoint_address(server: Option<&str>) -> String {
    match server {
        None | Some("") => format!("unix://{}", env::var("TRILOBITE_SOCKET").as_deref().unwrap_or(SOCKET)),
        Some(address) if address.contains("://") || address.starts_with("unix:") => address.to_owned(),
        Some(address) => format!("http://{address}"),
    }
}

/// The reader of a pipe, e.g. `head`, has read enough.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
