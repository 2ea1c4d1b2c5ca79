//! Opens the same stream on every agent and makes one of them, for the clients of the gateway.

use std::pin::Pin;

use futures::{Stream, StreamExt, future::ready};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming, transport::Channel};

use crate::{
    agent::{ANSWER_TIMEOUT, AgentError, Arrival, Transport, merge, status_text},
    commands::{
        agents::{connect, open_streams, reconnect},
        failure::Failure,
    },
    output::stderr::stderr_line,
};

pub(super) type MergedStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The messages of all agents in the order of their arrival. A node that leaves is reported on standard error; with
/// `follow` its stream is opened again by `reopen`.
pub(super) async fn merged<T, O, R, A, B>(
    transport: &Transport,
    doing: &'static str,
    follow: bool,
    open: O,
    reopen: R,
) -> Result<MergedStream<T>, Status>
where
    T: Send + 'static,
    O: Fn(Channel) -> A + Send,
    R: Fn(Channel) -> B + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<Streaming<T>>, Status>> + Send,
    B: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
{
    let agents = connect(transport, None).await.map_err(as_status)?;
    let opened = open_streams(agents, doing, open).await.map_err(as_status)?;
    let transport = transport.clone();
    let arrivals = merge(opened, move |node| reconnect(transport.clone(), follow, node, reopen.clone()));
    let messages = arrivals.filter_map(move |arrival| {
        ready(match arrival {
            Arrival::Message(message) => Some(Ok(message)),
            Arrival::End { node, error } => {
                if let Some(error) = error {
                    stderr_line!("warning: {node}: {doing}: {}", status_text(&error));
                }
                None
            }
        })
    });
    Ok(messages.boxed())
}

/// All messages of streams that end by themselves. A node that stops in the middle ends the wait.
pub(super) async fn collected<T>(mut messages: MergedStream<T>) -> Result<Vec<T>, Status> {
    let mut found = Vec::new();
    loop {
        match timeout(ANSWER_TIMEOUT, messages.next()).await {
            Ok(Some(message)) => found.push(message?),
            Ok(None) => return Ok(found),
            Err(_) => {
                stderr_line!("warning: a node has stopped in the middle of its answer, which may be incomplete");
                return Ok(found);
            }
        }
    }
}

/// A filter that an agent refuses is the client's mistake; anything else is not.
pub(super) fn as_status(failure: Failure) -> Status {
    match failure {
        Failure::Agent(AgentError::Refused { .. }) => Status::invalid_argument(failure.to_string()),
        failure => Status::unavailable(failure.to_string()),
    }
}
