//! Why a node gives no answer: a word for every caller, and details, with addresses, for those who may read the whole cluster.

use tonic::{Code, Status};

use crate::agents::AgentError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Unreachable,
    Late,
    Refused,
    /// The node does not know the call.
    OtherVersion,
    /// The node refuses the query itself, as every node of its version does.
    InvalidQuery,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Late => "late",
            Self::Refused => "refused",
            // The relay checks queries by itself: what it lets pass, agents of its own version know.
            Self::OtherVersion | Self::InvalidQuery => "another version",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFailure {
    pub cause: Cause,
    pub detail: String,
}

impl NodeFailure {
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl From<AgentError> for NodeFailure {
    fn from(error: AgentError) -> Self {
        let cause = match error {
            AgentError::Tls { .. } => Cause::Refused,
            AgentError::NoCertificate | AgentError::NoAgent { .. } | AgentError::Unreachable { .. } => {
                Cause::Unreachable
            }
        };
        Self::new(cause, error.to_string())
    }
}

impl From<&Status> for NodeFailure {
    fn from(status: &Status) -> Self {
        let mut detail =
            if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
        let mut source = std::error::Error::source(status);
        while let Some(error) = source {
            detail = format!("{detail}: {error}");
            source = error.source();
        }
        let cause = match status.code() {
            Code::InvalidArgument => Cause::InvalidQuery,
            Code::Unimplemented => Cause::OtherVersion,
            // With TLS 1.3 an agent refuses our certificate only after the handshake seems done.
            _ if detail.contains("fatal alert") => Cause::Refused,
            Code::DeadlineExceeded => Cause::Late,
            Code::Unavailable | Code::Cancelled => Cause::Unreachable,
            _ => Cause::Refused,
        };
        Self { cause, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_causes() {
        for (status, cause) in [
            (Status::unavailable("connection reset by 10.0.0.7"), Cause::Unreachable),
            (Status::deadline_exceeded(""), Cause::Late),
            (Status::invalid_argument("no such filter"), Cause::InvalidQuery),
            (Status::unimplemented(""), Cause::OtherVersion),
            (Status::permission_denied("not yours"), Cause::Refused),
            (Status::unavailable("received fatal alert: BadCertificate"), Cause::Refused),
        ] {
            assert_eq!(NodeFailure::from(&status).cause, cause, "{status}");
        }
    }
}
