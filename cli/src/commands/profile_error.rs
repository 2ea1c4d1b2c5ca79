//! Why there is no flame graph.

use std::{io, path::PathBuf};

use trilobite_folded_stacks::FoldedError;

use crate::fold::flame::DrawError;

/// Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("there is no pod {pod}; see 'kubectl get pods -n {namespace}'")]
    NoPod {
        /// `namespace/name`.
        pod: String,
        namespace: String,
    },
    #[error("pod {pod} is {phase}, so there is nothing to sample; wait until it is Running")]
    NotRunning {
        /// `namespace/name`.
        pod: String,
        /// `Pending`, `Succeeded`...
        phase: String,
    },
    #[error(
        "pod {namespace}/{name} has no labels, and an AppProfile selects by labels; run: kubectl label pod -n {namespace} {name} profile={name}"
    )]
    NoLabels { namespace: String, name: String },
    /// Refused by the operator or by the nodes.
    #[error("{message} ({reason}); {next}")]
    Refused { reason: String, message: String, next: String },
    #[error("the API server did not answer whether it has created appprofile {name}")]
    NotCreated {
        /// `namespace/name`.
        name: String,
    },
    #[error("there is no appprofile {name}; see '{list}'")]
    NoProfile {
        /// `namespace/name`.
        name: String,
        /// The command that lists them.
        list: String,
    },
    #[error("appprofile {name} was deleted before its end")]
    Gone {
        /// `namespace/name`.
        name: String,
    },
    #[error("there is no result: {detail}")]
    NoResult { detail: String },
    #[error(
        "no sample of {pod} was taken: {why}; {lost} lost, {undecided} of an unknown pod; profile for longer, or while the pod is busy and the node is not"
    )]
    Idle {
        /// `namespace/name`.
        pod: String,
        why: String,
        /// Lost samples.
        lost: u64,
        /// Samples of cgroups whose pod is unknown.
        undecided: u64,
    },
    #[error("interrupted; no flame graph was written")]
    Interrupted,
    #[error("node {node}: {source}; agent and command line may be of different versions")]
    Folded { node: String, source: FoldedError },
    #[error(transparent)]
    Draw(DrawError),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}
