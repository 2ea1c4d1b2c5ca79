//! The agents that a command speaks with; those that do not answer are told on standard error, and why.

use crate::{
    agent::{Agent, AgentError, Reach, connect_all},
    failure::Failure,
};

/// Connected agents, at least one.
pub(super) async fn answering(reach: &Reach, node: Option<&str>) -> Result<Vec<Agent>, Failure> {
    let (places, absent) = reach.places(node).await?;
    for one in &absent {
        eprintln!("warning: {one}");
    }
    let (agents, errors) = connect_all(&places).await;
    at_least_one(agents, errors)
}

/// What is left after the errors were told; the last error if nothing is.
pub(super) fn at_least_one<T>(found: Vec<T>, mut errors: Vec<AgentError>) -> Result<Vec<T>, Failure> {
    let last = if found.is_empty() { errors.pop() } else { None };
    for error in &errors {
        eprintln!("warning: {error}");
    }
    match last {
        Some(error) => Err(error.into()),
        None => Ok(found),
    }
}
