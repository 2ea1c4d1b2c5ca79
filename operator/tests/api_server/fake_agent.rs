//! `FakeAgent`: a fake kubelet and agent. Binds the DaemonSet's pod to its node, reports it as ready, and reports the
//! status of its NodeRuntime.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use trilobite_crds::node::{NodeProfile, NodeRuntime, ProfilePart, SessionState};

use crate::test_cluster::NAMESPACE;

/// The control plane marks a node as Unknown only after several missing heartbeats.
const BETWEEN_HEARTBEATS: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// The pod is not ready.
    pub(crate) not_ready: bool,
    /// The agent never writes a status.
    pub(crate) silent: bool,
    /// Policies that the agent refuses: name, reason, message.
    pub(crate) refuses: Vec<(String, String, String)>,
    /// Reason and message of a condition Ready that is false.
    pub(crate) fails: Option<(String, String)>,
    /// What the agent reports of each session that asks for requests, as a `RequestsState`.
    pub(crate) requests: Option<Value>,
    /// Pods of the relay are scheduled to the node, and are ready.
    pub(crate) relay_ready: Option<bool>,
}

pub(crate) struct FakeAgent {
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    work: JoinHandle<()>,
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl FakeAgent {
    pub(crate) fn start(client: Client, node: &str, behaviour: Behaviour) -> Self {
        let behaviour = Arc::new(Mutex::new(behaviour));
        let work = tokio::spawn(simulate(client, node.to_owned(), behaviour.clone()));
        Self { behaviour, work }
    }
}

async fn simulate(client: Client, node: String, behaviour: Arc<Mutex<Behaviour>>) {
    let mut reported = None;
    let mut last_heartbeat: Option<Instant> = None;
    loop {
        if last_heartbeat.is_none_or(|last| last.elapsed() > BETWEEN_HEARTBEATS) {
            heartbeat(&client, &node).await;
            last_heartbeat = Some(Instant::now());
        }
        let behaviour = behaviour.lock().clone();
        run_kubelet(&client, &node, &behaviour).await;
        if !behaviour.silent {
            report_status(&client, &node, &behaviour, &mut reported).await;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Without heartbeats the control plane sets the node's condition Ready to Unknown.
async fn heartbeat(client: &Client, node: &str) {
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "a fake kubelet",
        "lastHeartbeatTime": now, "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({"status": {"conditions": [ready]}});
    let _ =
        Api::<Node>::all(client.clone()).patch_status(node, &PatchParams::default(), &Patch::Strategic(&status)).await;
}

async fn run_kubelet(client: &Client, node: &str, behaviour: &Behaviour) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let Ok(list) = pods.list(&ListParams::default()).await else { return };
    for pod in list {
        let name = pod.name_any();
        let spec = pod.spec.clone().unwrap();
        if pod.metadata.deletion_timestamp.is_some() && spec.node_name.as_deref() == Some(node) {
            let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
            continue;
        }
        let is_relay = pod.labels().get("app.kubernetes.io/name").is_some_and(|name| name == "trilobite-relay");
        let is_for_this_node = match behaviour.relay_ready {
            Some(_) if is_relay => true,
            _ => json!(spec.affinity).to_string().contains(&format!("\"{node}\"")),
        };
        if spec.node_name.is_none() && is_for_this_node {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
            let url = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/binding");
            let request = http::Request::post(url).body(serde_json::to_vec(&binding).unwrap()).unwrap();
            let _ = client.request::<Value>(request).await;
        }
        if spec.node_name.as_deref() != Some(node) {
            continue;
        }
        let ready = if is_relay { behaviour.relay_ready == Some(true) } else { !behaviour.not_ready };
        let wanted = if ready { "True" } else { "False" };
        let conditions = pod.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == wanted) {
            continue;
        }
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
        let ready = json!({"type": "Ready", "status": wanted, "lastTransitionTime": now});
        let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
        let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status)).await;
    }
}

async fn report_status(client: &Client, node: &str, behaviour: &Behaviour, reported: &mut Option<Value>) {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let Ok(runtime) = runtimes.get(node).await else { return };
    let mut problems = Vec::new();
    let Some(reference) = &runtime.spec.profile_ref else { return };
    // The profile and its parts must exist before a NodeRuntime points at them.
    let profile = Api::<NodeProfile>::all(client.clone()).get(&reference.name).await.unwrap();
    assert!(profile.spec.is_intact(), "the profile is what its digest says");
    for wanted in &profile.spec.parts {
        let part = Api::<ProfilePart>::all(client.clone()).get(&wanted.name).await.unwrap();
        assert!(part.spec.is_intact(), "the part is what its digest says");
        // Also the dry run of a policy, whose name `trilobite policy check` makes of it.
        let is_of = |name: &str| part.spec.source.name.split("-check-").next() == Some(name);
        let refused = behaviour.refuses.iter().find(|(name, ..)| is_of(name));
        problems.extend(
            refused
                .map(|(_, reason, message)| json!({"source": part.spec.source, "reason": reason, "message": message})),
        );
    }
    let now = jiff::Timestamp::now();
    let sessions = runtime.spec.sessions.iter().map(|session| {
        let state = if session.expires_at <= now { SessionState::Completed } else { SessionState::Running };
        let asked = session.content.app_profile().and_then(|profile| profile.requests);
        let requests = behaviour.requests.as_ref().filter(|_| asked.is_some());
        let mut status =
            json!({"name": session.name, "expiresAt": session.expires_at, "state": state, "records": 490, "lost": 3});
        if let Some(requests) = requests {
            status["requests"] = requests.clone();
        }
        status
    });
    let (status, reason, message) = match &behaviour.fails {
        Some((reason, message)) => ("False", reason.as_str(), message.as_str()),
        None => ("True", "Ready", "the stack's profile is active"),
    };
    let status = json!({
        "observedGeneration": runtime.metadata.generation, "appliedProfile": reference, "partsInForce": profile.spec.parts.len(),
        "kernel": {"release": "6.12.0-reef", "cgroup": "v2"}, "sessions": sessions.collect::<Vec<_>>(), "problems": problems,
        "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message,
            "observedGeneration": runtime.metadata.generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    // A NodeRuntime that was created anew has no status.
    let report = json!([runtime.metadata.uid, status]);
    if reported.as_ref() != Some(&report) {
        let patch = json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime", "status": status});
        let params = PatchParams::apply("trilobite-node-status").force();
        if runtimes.patch_status(node, &params, &Patch::Apply(&patch)).await.is_ok() {
            *reported = Some(report);
        }
    }
}
