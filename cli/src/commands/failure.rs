//! Why a command failed. Each message says what was being done, to which object, and what to do about it.

use std::io;

use super::profile_error::ProfileError;
use crate::{agent::AgentError, cluster::ClusterError};

/// Ends a command with exit code 1, unless main says otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API server, or the connection to it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An agent, or the connection to it.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// No flame graph.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Write(#[source] io::Error),
    /// Options that exclude each other, which the parser does not check.
    #[error("{0}")]
    Usage(String),
    /// A file of the command line.
    #[error("cannot read {path}: {source}")]
    ReadFile { path: String, source: io::Error },
    /// By `policy check`.
    #[error("{refused} of {all} refused (see above); correct what is named, then check again")]
    PoliciesRefused { refused: usize, all: usize },
    #[error("interrupted")]
    Interrupted,
    /// With `status --exit-code`.
    #[error("not everything is ready (see above)")]
    NotReady,
    /// The tunnel's port on this machine.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another --port, or 0 for any that is free")]
    Listen { port: u16, source: io::Error },
    /// Every node's stream has ended though the command was to go on.
    #[error("every node's stream has ended (see above); run the command again")]
    AllEnded,
}
