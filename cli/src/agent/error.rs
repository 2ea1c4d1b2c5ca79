//! Why an agent does not answer.

use crate::{args::own_command, cluster::ClusterError};

/// Each message names the node and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// The API server, which knows where the agents are.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The DaemonSet has no pods.
    #[error(
        "no pod of trilobite-node in namespace {namespace}; see '{}', or name another namespace with --trilobite-namespace",
        own_command("status", .namespace)
    )]
    NoAgents { namespace: String },
    /// There are agents, but not on that node.
    #[error(
        "node {node} has no agent; these have: {others}. The stack's nodeSelector may leave it out: see 'kubectl describe obs default'"
    )]
    NoSuchNode { node: String, others: String },
    /// The agent's pod is not Running.
    #[error("node {node}: the agent's pod is {phase}; see 'kubectl -n {namespace} describe pod {pod}'")]
    NotRunning {
        node: String,
        namespace: String,
        pod: String,
        /// `Pending`, `Failed`...
        phase: String,
    },
    /// The connection could not be opened.
    #[error("{agent}: cannot reach the agent: {detail}; {next}")]
    Unreachable {
        /// The node or the socket.
        agent: String,
        detail: String,
        next: String,
    },
    /// The agent refused the call.
    #[error("{agent}: {doing}: {detail}")]
    Refused {
        /// The node or the socket.
        agent: String,
        doing: &'static str,
        detail: String,
    },
}

impl AgentError {
    /// With the agent's own reason.
    pub(crate) fn refused(agent: &str, doing: &'static str, status: &tonic::Status) -> Self {
        Self::Refused { agent: agent.into(), doing, detail: status_text(status) }
    }
}

/// A gRPC status for people to read.
pub(crate) fn status_text(status: &tonic::Status) -> String {
    match (status.code(), status.message()) {
        (tonic::Code::Unimplemented, "") => "this agent does not serve it".into(),
        (code, "") => code.to_string(),
        (_, message) => message.into(),
    }
}
