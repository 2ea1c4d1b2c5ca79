//! The agents that a command speaks with; those that do not answer are told on standard error, and why.

use crate::{
    agent::{Agent, AgentError, Reach, connect_all},
    failure::Failure,
};

/// Connected agents, at least one.
pub(super) async fn answering(reach: &Reach, node: Option<&str>) -> Result<Vec<Agent>, Failure> {
    let (places, mut errors) = reach.places(node).await?;
    let (agents, unreachable) = connect_all(&places).await;
    errors.extend(unreachable);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(node: &str) -> AgentError {
        let (namespace, pod, phase) = ("fossils".into(), "p".into(), "Pending".into());
        AgentError::NotRunning { node: node.into(), namespace, pod, phase }
    }

    #[test]
    fn one_agent_that_answers_is_enough() {
        assert_eq!(at_least_one(vec![7], vec![absent("alder")]).unwrap(), [7]);
    }

    #[test]
    fn when_none_answers_the_command_fails_with_a_node_and_its_next_step() {
        let failure = at_least_one(Vec::<u8>::new(), vec![absent("alder"), absent("birch")]).unwrap_err();
        assert!(failure.to_string().starts_with("node birch: the agent's pod is Pending"), "{failure}");
    }
}
