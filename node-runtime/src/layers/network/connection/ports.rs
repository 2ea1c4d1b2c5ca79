//! What port numbers say of the direction of a connection: little.

use crate::layers::network::decode::FlowTuple;

/// The first ephemeral port, on Linux and by IANA.
pub(super) const EPHEMERAL: u16 = 32768;

/// Whether the source of a packet is the client: an ephemeral port belongs to the client. None if both are, or neither.
pub(super) fn source_is_client(tuple: &FlowTuple) -> Option<bool> {
    match (tuple.source.port() >= EPHEMERAL, tuple.destination.port() >= EPHEMERAL) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}
