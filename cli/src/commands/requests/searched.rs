//! Whose requests are searched.

use crate::{agent::Transport, args::RequestsArgs};

/// The namespace whose pods are asked for; none for all. An agent on a socket has no namespace of its own.
pub(super) fn namespace<'a>(arguments: &'a RequestsArgs, transport: &'a Transport) -> Option<&'a str> {
    match transport {
        Transport::Socket(_) => arguments.namespace(None),
        Transport::Cluster { client, .. } => arguments.namespace(Some(client.default_namespace())),
    }
}
