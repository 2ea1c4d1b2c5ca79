//! The agents that a command speaks with; those that do not answer are told on standard error, and why.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tonic::{Response, Status, Streaming, transport::Channel};

use crate::{
    agent::{Agent, AgentError, Reach, connect_all, patiently},
    failure::Failure,
};

/// How long a node that was read may be without an agent.
const RETURN: Duration = Duration::from_secs(10 * 60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(2);

/// Connected agents, at least one.
pub(super) async fn answering(reach: &Reach, node: Option<&str>) -> Result<Vec<Agent>, Failure> {
    let (places, mut errors) = reach.places(node).await?;
    let (agents, unreachable) = connect_all(&places).await;
    errors.extend(unreachable);
    at_least_one(agents, errors)
}

/// The stream of each agent that begins one in time, at least one. `doing` is the method's name.
pub(super) async fn streams<T, A>(
    agents: Vec<Agent>,
    doing: &'static str,
    open: impl Fn(Channel) -> A,
) -> Result<Vec<(String, Streaming<T>)>, Failure>
where
    A: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let opened = agents.into_iter().map(|Agent { name, channel }| {
        let answer = patiently(open(channel));
        async move {
            match answer.await {
                Ok(response) => Ok((name, response.into_inner())),
                Err(status) => Err(AgentError::refused(&name, doing, &status)),
            }
        }
    });
    let (mut streams, mut errors) = (Vec::new(), Vec::new());
    for one in join_all(opened).await {
        match one {
            Ok(stream) => streams.push(stream),
            Err(error) => errors.push(error),
        }
    }
    at_least_one(streams, errors)
}

/// The stream of a node of a cluster whose stream has ended, when its agent is there again: a rollout and a crash make it
/// another pod or another process. None when it stays away, when nobody follows it, and of an agent on a socket: whoever
/// started that one ended it.
pub(super) async fn again<T, A>(
    reach: Reach,
    follow: bool,
    node: String,
    open: impl Fn(Channel) -> A,
) -> Option<Streaming<T>>
where
    A: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    if !follow || matches!(reach, Reach::Socket(_)) {
        return None;
    }
    eprintln!("{node}: waiting for its agent");
    let until = Instant::now() + RETURN;
    while Instant::now() < until {
        sleep(LOOK).await;
        let Ok((places, _)) = reach.places(Some(&node)).await else { continue };
        for place in places {
            let Ok(agent) = place.connect().await else { continue };
            if let Ok(response) = patiently(open(agent.channel)).await {
                eprintln!("{node}: its agent is there again; what was meanwhile is not shown");
                return Some(response.into_inner());
            }
        }
    }
    eprintln!("warning: {node}: its agent was not there again within {} minutes", RETURN.as_secs() / 60);
    None
}

/// What is left after the errors were told; the last error if nothing is.
fn at_least_one<T>(found: Vec<T>, mut errors: Vec<AgentError>) -> Result<Vec<T>, Failure> {
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
    use crate::{
        agent::{
            Place, Way,
            fake::{FakeAgent, exec_in},
        },
        proto::tetragon::{GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
    };

    fn absent(node: &str) -> AgentError {
        let (namespace, pod, phase) = ("fossils".into(), "p".into(), "Pending".into());
        AgentError::NotRunning { node: node.into(), namespace, pod, phase }
    }

    /// Takes connections and never says a word.
    struct Stuck {
        path: std::path::PathBuf,
        _listener: std::os::unix::net::UnixListener,
    }

    impl Stuck {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("trilobite-stuck-{name}-{}.sock", std::process::id()));
            Self { _listener: std::os::unix::net::UnixListener::bind(&path).unwrap(), path }
        }

        fn place(&self) -> Place {
            Place { name: "birch".into(), way: Way::Socket(self.path.clone()), next: "start it".into() }
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[tokio::test]
    async fn an_agent_that_is_stuck_keeps_nobody_from_the_others() {
        let fake = FakeAgent::with_events(vec![exec_in("shop", "till-1")]);
        let stuck = Stuck::new("one");
        let (agents, unreachable) = connect_all(&[stuck.place(), fake.place()]).await;
        assert_eq!(agents.len() + unreachable.len(), 2);
        let open = |channel| async move {
            FineGuidanceSensorsClient::new(channel).get_events(GetEventsRequest::default()).await
        };
        let streams = streams(agents, "GetEvents", open).await.unwrap();
        let names: Vec<String> = streams.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["alder"]);
    }

    #[tokio::test]
    async fn when_the_only_agent_is_stuck_the_command_fails_and_says_so() {
        let stuck = Stuck::new("only");
        let open = |channel| async move {
            FineGuidanceSensorsClient::new(channel).get_events(GetEventsRequest::default()).await
        };
        let failure = match connect_all(&[stuck.place()]).await {
            (agents, _) if !agents.is_empty() => streams(agents, "GetEvents", open).await.err().unwrap().to_string(),
            (_, mut errors) => errors.remove(0).to_string(),
        };
        assert!(failure.contains("birch") && failure.contains("no answer within"), "{failure}");
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
