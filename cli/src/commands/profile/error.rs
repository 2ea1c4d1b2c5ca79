//! Why there is no flame graph.

use std::{io, path::PathBuf};

use crate::fold::{flame::NotDrawn, merge::NotFolded};

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// No such pod.
    #[error("there is no pod {pod}; see 'kubectl get pods -n {namespace}'")]
    NoPod {
        /// `namespace/name`.
        pod: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The pod has no processes.
    #[error("pod {pod} is {phase}, so that there is nothing to sample; wait until it is Running")]
    NotRunning {
        /// `namespace/name`.
        pod: String,
        /// `Pending`, `Succeeded`...
        phase: String,
    },
    /// Nothing to select it by.
    #[error(
        "pod {namespace}/{name} has no labels, and an AppProfile selects by labels; run: kubectl label pod -n {namespace} {name} profile={name}"
    )]
    NoLabels {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Operator or nodes said no.
    #[error("{message} ({reason}); {next}")]
    Refused {
        /// One word.
        reason: String,
        /// What and where.
        message: String,
        /// What to do.
        next: String,
    },
    /// No answer.
    #[error("the API server did not say whether it has made appprofile {name}")]
    NotMade {
        /// `namespace/name`.
        name: String,
    },
    /// Somebody else deleted it.
    #[error("appprofile {name} was deleted before its end")]
    Gone {
        /// `namespace/name`.
        name: String,
    },
    /// Nothing could be fetched.
    #[error("there is no result: {detail}")]
    NoResult {
        /// Why.
        detail: String,
    },
    /// No samples.
    #[error(
        "no sample of {pod} was taken: it used no CPU time, {lost} were lost and {undecided} of an unknown pod; profile for longer, or while it works"
    )]
    Idle {
        /// `namespace/name`.
        pod: String,
        /// Samples that were lost.
        lost: u64,
        /// Samples that could not be counted to a pod.
        undecided: u64,
    },
    /// Ctrl-C.
    #[error("interrupted; no flame graph was written")]
    Interrupted,
    /// A node's stacks cannot be read.
    #[error("node {node}: {source}; agent and command line may be of different versions")]
    Folded {
        /// Which node.
        node: String,
        /// Which line.
        source: NotFolded,
    },
    /// No picture.
    #[error(transparent)]
    Draw(NotDrawn),
    /// A file of this machine.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}
