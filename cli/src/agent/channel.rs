//! One gRPC connection per agent.

use std::{error::Error, io, time::Duration};

use futures::future::join_all;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use super::{error::AgentError, transport::AgentAddress};
use crate::error_chain::error_chain;

/// Limit for connecting to an agent, and then for the beginning of its answer: an agent that is stuck does not block
/// the others.
pub(crate) const ANSWER_TIMEOUT: Duration =
    if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };

/// A connected agent.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) channel: Channel,
}

impl AgentAddress {
    /// Opens the stream and the gRPC connection on it.
    pub(crate) async fn connect(&self) -> Result<Agent, AgentError> {
        let route = self.route.clone();
        let connector = service_fn(move |_: Uri| {
            let route = route.clone();
            async move { route.open().await.map(TokioIo::new) }
        });
        // Never resolved, because the connector ignores it; servers require an authority.
        let endpoint = Endpoint::from_static("http://agent.trilobite");
        match timeout(ANSWER_TIMEOUT, endpoint.connect_with_connector(connector)).await {
            Err(_) => Err(self.unreachable(&io::Error::new(io::ErrorKind::TimedOut, no_answer()))),
            Ok(Ok(channel)) => Ok(Agent { name: self.name.clone(), channel }),
            Ok(Err(error)) => Err(self.unreachable(&error)),
        }
    }

    pub(crate) fn unreachable(&self, error: &(dyn Error + 'static)) -> AgentError {
        AgentError::Unreachable {
            agent: self.name.clone(),
            detail: error_chain(error).trim_start_matches("transport error: ").into(),
            next: self.next.clone(),
        }
    }
}

/// The answer, or DEADLINE_EXCEEDED.
pub(crate) async fn within_timeout<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(Status::deadline_exceeded(no_answer())))
}

fn no_answer() -> String {
    format!("no answer within {ANSWER_TIMEOUT:?}")
}

/// The agents that answer, in the given order, and why the others do not.
pub(crate) async fn connect_all(addresses: &[AgentAddress]) -> (Vec<Agent>, Vec<AgentError>) {
    let mut agents = Vec::with_capacity(addresses.len());
    let mut errors = Vec::new();
    for outcome in join_all(addresses.iter().map(AgentAddress::connect)).await {
        match outcome {
            Ok(agent) => agents.push(agent),
            Err(error) => errors.push(error),
        }
    }
    (agents, errors)
}
