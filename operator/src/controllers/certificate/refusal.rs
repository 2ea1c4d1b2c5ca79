//! Why a certificate is not issued: the reason and the message of the condition Denied, and of an Event.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{username} must not ask this signer; only {expected} may")]
    WrongUser { username: String, expected: String },
    #[error("spec.extra has no {key} with one value: the request was not made with the token of a pod")]
    NotFromPod { key: &'static str },
    #[error("pod {pod} with this UID does not exist or is being deleted")]
    PodNotFound { pod: String },
    #[error("node {node} does not exist or is being deleted")]
    NodeNotFound { node: String },
    #[error("pod {pod} runs on node {runs_on:?}, not on {claimed}")]
    WrongNode { pod: String, runs_on: String, claimed: String },
    #[error("pod {pod} does not belong to {workload}")]
    WrongWorkload { pod: String, workload: String },
    #[error("spec.usages must be exactly {}", expected.join(" and "))]
    WrongUsages { expected: [&'static str; 2] },
    #[error("spec.expirationSeconds must be at most {most}")]
    LifeTooLong { most: i32 },
    #[error("spec.request: {0}")]
    Malformed(String),
    #[error("the subject must be CN={expected} and nothing else")]
    WrongSubject { expected: &'static str },
    #[error("the DNS names must be exactly {}", expected.join(", "))]
    WrongNames { expected: Vec<String> },
    #[error("a name of type {0} is not permitted")]
    WrongNameType(&'static str),
    #[error("the request asks for more than its signer grants: {0}")]
    WrongExtensions(&'static str),
}

impl Refusal {
    /// One word, which never changes; docs/why-is-the-relay-not-ready.md lists them.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::WrongUser { .. } => "WrongUser",
            Self::NotFromPod { .. } => "NotFromPod",
            Self::PodNotFound { .. } => "PodNotFound",
            Self::NodeNotFound { .. } => "NodeNotFound",
            Self::WrongNode { .. } => "WrongNode",
            Self::WrongWorkload { .. } => "WrongWorkload",
            Self::WrongUsages { .. } | Self::WrongExtensions(_) => "WrongUsages",
            Self::LifeTooLong { .. } => "LifeTooLong",
            Self::Malformed(_) => "MalformedRequest",
            Self::WrongSubject { .. } | Self::WrongNames { .. } | Self::WrongNameType(_) => "WrongNames",
        }
    }
}
