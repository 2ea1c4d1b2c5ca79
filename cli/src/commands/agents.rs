//! Connects to the agents that a command needs. Agents that do not answer are reported on standard error.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tonic::{Response, Status, Streaming, transport::Channel};

use super::failure::Failure;
use crate::{
    agent::{Agent, AgentError, Transport, connect_all, within_timeout},
    output::stderr::stderr_line,
};

/// How long a followed node may be without an agent.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Pause between two attempts to reconnect.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Connected agents, at least one.
pub(super) async fn connect(transport: &Transport, node: Option<&str>) -> Result<Vec<Agent>, Failure> {
    let (addresses, mut errors) = transport.addresses(node).await?;
    let (agents, unreachable) = connect_all(&addresses).await;
    errors.extend(unreachable);
    at_least_one(agents, errors)
}

/// Opens a stream of each agent, at least one. `doing` is the method's name. An agent that does not begin to answer in
/// time is left out.
pub(super) async fn open_streams<T, A>(
    agents: Vec<Agent>,
    doing: &'static str,
    open: impl Fn(Channel) -> A,
) -> Result<Vec<(String, Streaming<T>)>, Failure>
where
    A: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let opened = agents.into_iter().map(|Agent { name, channel }| {
        let answer = within_timeout(open(channel));
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

/// Reopens a node's stream that has ended, once its agent runs again: after a rollout in another pod, after a crash in
/// another process. None when the agent stays away, without `follow`, and for an agent on a socket, whose user ended
/// it.
pub(super) async fn reconnect<T, A>(
    transport: Transport,
    follow: bool,
    node: String,
    open: impl Fn(Channel) -> A,
) -> Option<Streaming<T>>
where
    A: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    if !follow || matches!(transport, Transport::Socket(_)) {
        return None;
    }
    stderr_line!("{node}: waiting for its agent");
    let until = Instant::now() + RECONNECT_TIMEOUT;
    while Instant::now() < until {
        sleep(RECONNECT_PAUSE).await;
        let Ok((addresses, _)) = transport.addresses(Some(&node)).await else { continue };
        for address in addresses {
            let Ok(agent) = address.connect().await else { continue };
            if let Ok(response) = within_timeout(open(agent.channel)).await {
                stderr_line!("{node}: its agent is back; what happened in between is not shown");
                return Some(response.into_inner());
            }
        }
    }
    stderr_line!("warning: {node}: its agent did not come back within {} minutes", RECONNECT_TIMEOUT.as_secs() / 60);
    None
}

/// Reports the errors as warnings and returns what was found; fails with the last error if nothing was.
fn at_least_one<T>(found: Vec<T>, mut errors: Vec<AgentError>) -> Result<Vec<T>, Failure> {
    let last = if found.is_empty() { errors.pop() } else { None };
    for error in &errors {
        stderr_line!("warning: {error}");
    }
    match last {
        Some(error) => Err(error.into()),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use trilobite_api::tetragon::{GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient};

    use super::*;
    use crate::agent::{
        AgentAddress, Route,
        fake::{FakeAgent, exec_in},
    };

    fn absent(node: &str) -> AgentError {
        let (namespace, pod, phase) = ("fossils".into(), "p".into(), "Pending".into());
        AgentError::NotRunning { node: node.into(), namespace, pod, phase }
    }

    /// Accepts connections and never answers.
    struct Stuck {
        path: std::path::PathBuf,
        _listener: std::os::unix::net::UnixListener,
    }

    impl Stuck {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("trilobite-stuck-{name}-{}.sock", std::process::id()));
            Self { _listener: std::os::unix::net::UnixListener::bind(&path).unwrap(), path }
        }

        fn address(&self) -> AgentAddress {
            AgentAddress { name: "birch".into(), route: Route::Socket(self.path.clone()), next: "start it".into() }
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[tokio::test]
    async fn stuck_agent_does_not_block_the_others() {
        let fake = FakeAgent::with_events(vec![exec_in("shop", "till-1")]);
        let stuck = Stuck::new("one");
        let (agents, unreachable) = connect_all(&[stuck.address(), fake.address()]).await;
        assert_eq!(agents.len() + unreachable.len(), 2);
        let open = |channel| async move {
            FineGuidanceSensorsClient::new(channel).get_events(GetEventsRequest::default()).await
        };
        let streams = open_streams(agents, "GetEvents", open).await.unwrap();
        let names: Vec<String> = streams.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["alder"]);
    }

    #[tokio::test]
    async fn command_fails_when_its_only_agent_is_stuck() {
        let stuck = Stuck::new("only");
        let open = |channel| async move {
            FineGuidanceSensorsClient::new(channel).get_events(GetEventsRequest::default()).await
        };
        let failure = match connect_all(&[stuck.address()]).await {
            (agents, _) if !agents.is_empty() => {
                open_streams(agents, "GetEvents", open).await.err().unwrap().to_string()
            }
            (_, mut errors) => errors.remove(0).to_string(),
        };
        assert!(failure.contains("birch") && failure.contains("no answer within"), "{failure}");
    }

    #[test]
    fn one_agent_that_answers_is_enough() {
        assert_eq!(at_least_one(vec![7], vec![absent("alder")]).unwrap(), [7]);
    }

    #[test]
    fn command_fails_with_advice_when_no_agent_answers() {
        let failure = at_least_one(Vec::<u8>::new(), vec![absent("alder"), absent("birch")]).unwrap_err();
        assert!(failure.to_string().starts_with("node birch: the agent's pod is Pending"), "{failure}");
    }
}
