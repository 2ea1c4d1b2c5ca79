//! Does the agent answer? For the kubelet's probe: cheap, and without a gRPC client.

use std::{os::unix::net::UnixStream, path::Path};

use anyhow::Context;

/// Ends well when somebody accepts on the agent's socket.
pub(super) fn run(socket: &Path) -> anyhow::Result<()> {
    UnixStream::connect(socket).map(drop).with_context(|| format!("no agent answers at {}", socket.display()))
}
