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

use super::{AgentError, Place};
use crate::failure::chain;

/// How long an agent may take until it is connected to, and then until it begins to answer: one that is stuck keeps nobody
/// from the others.
pub(crate) const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };

/// An agent that has answered.
#[derive(Clone)]
pub(crate) struct Agent {
    /// The node's name, or the socket's path.
    pub(crate) name: String,
    /// Its services.
    pub(crate) channel: Channel,
}

impl Place {
    /// Opens the way and shakes hands.
    pub(crate) async fn connect(&self) -> Result<Agent, AgentError> {
        let way = self.way.clone();
        let connector = service_fn(move |_: Uri| {
            let way = way.clone();
            async move { way.open().await.map(TokioIo::new) }
        });
        // Never resolved: the connector knows the way. Servers want an authority all the same.
        let endpoint = Endpoint::from_static("http://agent.trilobite");
        match timeout(PATIENCE, endpoint.connect_with_connector(connector)).await {
            Err(_) => Err(self.unreachable(&io::Error::new(io::ErrorKind::TimedOut, silent()))),
            Ok(Ok(channel)) => Ok(Agent { name: self.name.clone(), channel }),
            Ok(Err(error)) => Err(self.unreachable(&error)),
        }
    }

    /// `error` with the node and what to do.
    pub(crate) fn unreachable(&self, error: &(dyn Error + 'static)) -> AgentError {
        AgentError::Unreachable {
            place: self.name.clone(),
            detail: chain(error).trim_start_matches("transport error: ").into(),
            next: self.next.clone(),
        }
    }
}

/// An answer, or that there was none in time.
pub(crate) async fn patiently<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(Status::deadline_exceeded(silent())))
}

fn silent() -> String {
    format!("no answer within {PATIENCE:?}")
}

/// Those that answer, in the given order, and why the others do not.
pub(crate) async fn connect_all(places: &[Place]) -> (Vec<Agent>, Vec<AgentError>) {
    let mut agents = Vec::with_capacity(places.len());
    let mut errors = Vec::new();
    for outcome in join_all(places.iter().map(Place::connect)).await {
        match outcome {
            Ok(agent) => agents.push(agent),
            Err(error) => errors.push(error),
        }
    }
    (agents, errors)
}
