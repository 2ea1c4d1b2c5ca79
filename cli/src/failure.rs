//! Why a command failed: what was being done, to which object, and what to do about it.

use std::{error::Error, io};

use crate::{agent::AgentError, cluster::ClusterError, commands::ProfileError, output::JsonError};

/// What ends a command with 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API server, or the way to it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An agent, or the way to it.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A profile that could not be had.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A message that cannot be printed.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Write(#[source] io::Error),
    /// Options that do not go together in a way that the parser cannot see.
    #[error("{0}")]
    Usage(&'static str),
    /// No port of this machine.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another --port, or 0 for any that is free")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// The system's words.
        source: io::Error,
    },
    /// Every stream has ended before it should.
    #[error("every node's stream has ended (see above); run the command again to start anew")]
    AllEnded,
}

/// An error and what it came from, on one line and without saying anything twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
