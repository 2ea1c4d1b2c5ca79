//! Sets the condition Ready of a NodeRuntime to Unknown while its agent is silent. The field manager is one of its own, so
//! the agent takes the condition back when it reports again.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use trilobite_crds::{
    Reason,
    condition::{ConditionStatus, ConditionType, Finding, merge},
    node::NodeRuntime,
};

const MANAGER: &str = "trilobite-operator-silence";
/// A patch that takes longer has failed.
const PATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Least time between two writes about one node: an agent that reports, and yet counts as silent, writes in between.
pub(super) const BETWEEN_WRITES: Duration = Duration::from_secs(10);

/// A node whose agent counts as silent, and whose NodeRuntime still says what that agent reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SilentAgent {
    pub(crate) node: String,
    /// `metadata.uid` of the NodeRuntime.
    pub(crate) uid: String,
    /// The generation that the agent has reported on.
    pub(crate) observed_generation: i64,
    /// Why it counts as silent.
    pub(crate) message: String,
}

pub(crate) struct SilentAgentWriter {
    runtimes: Api<NodeRuntime>,
    written: BTreeMap<String, Instant>,
}

impl SilentAgentWriter {
    pub(crate) fn new(client: Client) -> Self {
        Self { runtimes: Api::all(client), written: BTreeMap::new() }
    }

    /// Returns when the sender is gone.
    pub(crate) async fn write_until_closed(mut self, mut lists: mpsc::Receiver<Vec<SilentAgent>>) {
        while let Some(agents) = lists.recv().await {
            // Once for a list: all nodes may be silent at once.
            self.written.retain(|_, at| at.elapsed() < BETWEEN_WRITES);
            for agent in agents {
                if self.written.get(&agent.node).is_some_and(|at| at.elapsed() < BETWEEN_WRITES) {
                    continue;
                }
                let now = Instant::now();
                match self.write(&agent).await {
                    Ok(()) => drop(self.written.insert(agent.node, now)),
                    Err(error) => {
                        tracing::warn!(node = agent.node, %error, "a NodeRuntime still says what its silent agent reported");
                    }
                }
            }
        }
    }

    async fn write(&self, agent: &SilentAgent) -> Result<(), kube::Error> {
        let body = Patch::Apply(patch(agent, Timestamp::now()));
        let params = PatchParams::apply(MANAGER).force();
        match timeout(PATCH_TIMEOUT, self.runtimes.patch_status(&agent.node, &params, &body)).await {
            // The node has gone or was created anew.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
            Ok(result) => result.map(drop),
            Err(_) => Err(kube::Error::Service("no response".into())),
        }
    }
}

fn patch(agent: &SilentAgent, now: Timestamp) -> Value {
    let unknown =
        Finding::new(ConditionType::Ready, ConditionStatus::Unknown, Reason::AgentSilent, agent.message.clone());
    json!({
        "apiVersion": "trilobite.dev/v1alpha1",
        "kind": "NodeRuntime",
        // The UID keeps the status from a newer object of the same name.
        "metadata": {"name": agent.node, "uid": agent.uid},
        "status": {"conditions": merge(&[], &[unknown], agent.observed_generation, now)},
    })
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use tower_test::mock;

    use super::*;

    fn silent(node: &str) -> SilentAgent {
        let message = "no agent pod on the node; see kubectl describe node".to_owned();
        SilentAgent { node: node.into(), uid: format!("uid-of-{node}"), observed_generation: 3, message }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_agent_is_written_once_in_ten_seconds() {
        let (service, mut requests) = mock::pair::<Request<Body>, Response<Body>>();
        let (lists, incoming) = mpsc::channel(1);
        let writer = SilentAgentWriter::new(Client::new(service, "ink-system"));
        let writer = tokio::spawn(writer.write_until_closed(incoming));
        let mut bodies = Vec::new();
        for (list, pause) in [(vec!["reef-1"], 1), (vec!["reef-1", "reef-2"], 10), (vec!["reef-1"], 1)] {
            let expected = if list.len() == 2 { 1 } else { list.len() };
            lists.send(list.into_iter().map(silent).collect()).await.unwrap();
            for _ in 0..expected {
                let (request, answer) = requests.next_request().await.expect("a request");
                let query = request.uri().query().unwrap_or_default().to_owned();
                assert!(query.contains("force=true") && query.contains(MANAGER), "{query}");
                let body = request.into_body().collect_bytes().await.unwrap();
                answer.send_response(Response::new(Body::from(
                    json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime", "metadata": {}, "spec": {}})
                        .to_string()
                        .into_bytes(),
                )));
                bodies.push(serde_json::from_slice::<Value>(&body).unwrap());
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        drop(lists);
        writer.await.unwrap();
        let nodes: Vec<_> = bodies.iter().map(|body| body["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(nodes, ["reef-1", "reef-2", "reef-1"]);
        assert_eq!(bodies[0]["metadata"]["uid"], "uid-of-reef-1");
        let condition = &bodies[0]["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("Unknown"), &json!("AgentSilent")));
        assert_eq!(bodies[0]["status"].as_object().unwrap().len(), 1, "the rest is the agent's: {}", bodies[0]);
    }
}
