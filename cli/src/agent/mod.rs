//! Agents, and the way to each: `kubectl exec` of its own `proxy`, so that RBAC on pods/exec is the lock and no port is
//! open; or a socket of this machine.

mod channel;
mod exec;
#[cfg(test)]
pub(crate) mod fake;
mod find;
mod merge;

pub(crate) use channel::{Agent, PATIENCE, connect_all, patiently};
#[cfg(test)]
pub(crate) use exec::Way;
pub(crate) use find::{Place, Reach};
pub(crate) use merge::{Arrival, merge};

/// Why an agent does not answer. Each names the node and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// No pod of the DaemonSet is there.
    #[error(
        "no pod of trilobite-node in namespace {namespace}; see 'trilobite status', or name the namespace with --trilobite-namespace"
    )]
    NoAgents {
        /// Where they were looked for.
        namespace: String,
    },
    /// There are agents, but none on that node.
    #[error(
        "node {node} has no agent; these have: {others}. The stack's nodeSelector may leave it out: see 'kubectl describe obs default'"
    )]
    NoSuchNode {
        /// The node that was asked for.
        node: String,
        /// Where agents are.
        others: String,
    },
    /// The pod is there but does not run.
    #[error("node {node}: the agent's pod is {phase}; see 'kubectl -n {namespace} describe pod {pod}'")]
    NotRunning {
        /// Which.
        node: String,
        /// Where its pod is.
        namespace: String,
        /// Its pod.
        pod: String,
        /// `Pending`, `Failed`...
        phase: String,
    },
    /// The way in could not be opened.
    #[error("{place}: cannot reach the agent: {detail}; {next}")]
    Unreachable {
        /// The node or the socket.
        place: String,
        /// What went wrong.
        detail: String,
        /// What to do.
        next: String,
    },
    /// It was reached and said no.
    #[error("{place}: {doing}: {detail}")]
    Refused {
        /// The node or the socket.
        place: String,
        /// The method.
        doing: &'static str,
        /// The agent's words.
        detail: String,
    },
}

impl AgentError {
    /// The agent's own words for why it did not do it.
    pub(crate) fn refused(place: &str, doing: &'static str, status: &tonic::Status) -> Self {
        Self::Refused { place: place.into(), doing, detail: words(status) }
    }
}

/// A gRPC status as a person reads it.
pub(crate) fn words(status: &tonic::Status) -> String {
    match (status.code(), status.message()) {
        (tonic::Code::Unimplemented, "") => "this agent does not serve it".into(),
        (code, "") => code.to_string(),
        (_, message) => message.into(),
    }
}
