//! A node without a kubelet: an API server, the objects of its desired state, and two pods whose cgroups and
//! interfaces are real. The agent on it is the agent of a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use trilobite_cluster::{ControlPlane, workspace_root};
use trilobite_crds::{
    Inputs, ObservabilityStack, ObservabilityStackSpec, STACK_NAME,
    files::{Resource, parse_documents},
    node::Session,
    plan,
    policy::TracingPolicy,
    session_for_capture, session_for_profile,
};

use crate::{
    agent::{Agent, DesiredSource, Launch, NODE},
    api::Api,
    pods::Pods,
    waiting::poll,
};

/// Of the node's cgroups; the folders above `kubepods` are the node's.
const CGROUP: &str = "trilobite-bench-node/kubepods/burstable";
/// Where the agent's own pod is, which has the host's network.
const HOST: &str = "192.0.2.1";
/// A thousand parts are fetched one after the other.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(60);
const GROUP: &str = "/apis/trilobite.dev/v1alpha1";

/// The spec that the node got last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppliedSpec {
    generation: i64,
    parts: usize,
    sessions: usize,
}

/// The node. Dropping it removes all of it.
pub(crate) struct Node {
    /// Its two pods.
    pub pods: Pods,
    /// The cgroup of the agent's own pod.
    agent: String,
    api: Api,
    kubeconfig: PathBuf,
    /// Last, so that nothing talks to it any more when it ends.
    _control: ControlPlane,
}

impl Node {
    /// Starts the control plane and makes node and pods.
    pub(crate) fn up() -> Result<Self> {
        let control = ControlPlane::start()?;
        let crds = workspace_root().join("config/crd").display().to_string();
        kubectl(&control, &["apply", "--server-side", "-k", &crds])?;
        kubectl(&control, &["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"])?;
        let api = Api::open(&control)?;
        api.create("/api/v1/nodes", &json!({ "metadata": { "name": NODE } }))?;
        api.create("/api/v1/namespaces", &json!({ "metadata": { "name": "bench" } }))?;
        let runtime = json!({
            "apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime", "metadata": { "name": NODE }, "spec": {},
        });
        api.create(&format!("{GROUP}/noderuntimes"), &runtime)?;
        let [client, server, agent] = ["c", "5", "a"].map(|digit| digit.repeat(64));
        let cgroup = |name: &str, id: &str| anyhow::Ok(format!("{CGROUP}/pod{}/{id}", pod_object(&api, name)?));
        let pods = Pods::make([&cgroup("client", &client)?, &cgroup("server", &server)?])?;
        let agents = cgroup("agent", &agent)?;
        let running = [(&pods.client, &client), (&pods.server, &server)].map(|(pod, id)| (pod.name, pod.address, id));
        for (pod, address, id) in running.into_iter().chain([("agent", HOST, &agent)]) {
            say_it_runs(&api, pod, address, id)?;
        }
        Ok(Self { pods, agent: agents, api, kubeconfig: control.kubeconfig(), _control: control })
    }

    /// Starts an agent among the node's pods, with the spec that it got last. The status that an agent before has left is
    /// removed: otherwise `wait_until_active` returns before this one has loaded anything, and its loading is measured too.
    pub(crate) fn agent(&self, program: &Path, output: Option<&Path>) -> Result<Agent> {
        self.api.merge(&format!("{GROUP}/noderuntimes/{NODE}/status"), &json!({ "status": null }))?;
        Agent::start(Launch { program, cgroup: &self.agent, output }, DesiredSource::Cluster(&self.kubeconfig))
    }

    /// Gives the node the spec that the file's resources make, as the operator would.
    pub(crate) fn apply(&self, file: &Path) -> Result<AppliedSpec> {
        self.apply_with(file, &[])
    }

    /// The same with policies.
    pub(crate) fn apply_with(&self, file: &Path, policies: &[TracingPolicy]) -> Result<AppliedSpec> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let resources = parse_documents(&text, &file.display().to_string()).map_err(|errors| anyhow!("{errors:?}"))?;
        let fallback = ObservabilityStack::new(STACK_NAME, ObservabilityStackSpec::default());
        let stack = resources.iter().find_map(|resource| match resource {
            Resource::Stack(stack) => Some(stack.as_ref()),
            _ => None,
        });
        let stack = stack.unwrap_or(&fallback);
        let planned = plan(&Inputs { policies: policies.iter().collect(), ..Inputs::new(stack) });
        ensure!(planned.refusals.is_empty(), "{:?}", planned.refusals);
        let profile = planned.profile.metadata.name.clone().unwrap_or_default();
        for part in &planned.parts {
            let name = part.metadata.name.clone().unwrap_or_default();
            self.keep(&format!("{GROUP}/profileparts"), &name, &serde_json::to_value(part)?)?;
        }
        self.keep(&format!("{GROUP}/nodeprofiles"), &profile, &serde_json::to_value(&planned.profile)?)?;
        let sessions = sessions(&resources, stack)?;
        let reference = json!({ "name": profile, "digest": planned.profile.spec.digest });
        let spec = json!({ "profileRef": reference, "sessions": sessions });
        let object = self.api.merge(&format!("{GROUP}/noderuntimes/{NODE}"), &json!({ "spec": spec }))?;
        let generation = object["metadata"]["generation"].as_i64().context("the NodeRuntime has no generation")?;
        Ok(AppliedSpec { generation, parts: planned.parts.len(), sessions: sessions.len() })
    }

    /// Waits until the agent reports all of it as active.
    pub(crate) fn wait_until_active(&self, applied: AppliedSpec, agent: &Agent) -> Result<()> {
        let mut status = Value::Null;
        let done = poll(ACTIVE_TIMEOUT, Duration::from_millis(20), || {
            status = self.status().unwrap_or_default();
            let sessions = status["sessions"].as_array().into_iter().flatten();
            let running = sessions.filter(|session| session["state"] == "Running").count();
            status["observedGeneration"].as_i64() == Some(applied.generation)
                && status["partsInForce"].as_u64() >= Some(applied.parts as u64)
                && running == applied.sessions
        });
        let wrong: String =
            status["problems"].as_array().into_iter().flatten().map(|problem| format!("{problem} ")).collect();
        ensure!(done, "not everything is active: {wrong}\n{status}\n{}", agent.log());
        Ok(())
    }

    /// What the agent says.
    pub(crate) fn status(&self) -> Result<Value> {
        Ok(self.api.get(&format!("{GROUP}/noderuntimes/{NODE}"))?["status"].take())
    }

    /// Makes an object that is named by its content, unless it is there.
    fn keep(&self, path: &str, name: &str, object: &Value) -> Result<()> {
        if self.api.get(&format!("{path}/{name}")).is_err() {
            self.api.create(path, object)?;
        }
        Ok(())
    }
}

fn sessions(resources: &[Resource], stack: &ObservabilityStack) -> Result<Vec<Session>> {
    let now = Timestamp::now();
    let made = resources.iter().filter_map(|resource| match resource {
        Resource::Capture(capture) => Some(session_for_capture(capture, stack, now)),
        Resource::Profile(profile) => Some(session_for_profile(profile, stack, &Default::default(), now)),
        _ => None,
    });
    made.map(|session| session.map_err(|refusal| anyhow!("{}", refusal.message))).collect()
}

/// Makes the pod's object, once its namespace has a service account; gives its uid.
fn pod_object(api: &Api, name: &str) -> Result<String> {
    let object = json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "main", "image": "bench" }],
        },
    });
    let mut made = Ok(Value::Null);
    poll(Duration::from_secs(20), Duration::from_millis(100), || {
        made = api.create("/api/v1/namespaces/bench/pods", &object);
        made.is_ok()
    });
    made?["metadata"]["uid"].as_str().map(str::to_owned).with_context(|| format!("the pod {name} has no uid"))
}

/// The kubelet's part: the pod runs, has an address and a container.
fn say_it_runs(api: &Api, pod: &str, address: &str, id: &str) -> Result<()> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let container = json!({
        "name": "main", "image": "bench", "imageID": "bench", "ready": true, "restartCount": 0,
        "containerID": format!("containerd://{id}"), "state": { "running": { "startedAt": now } },
    });
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "startTime": now,
        "containerStatuses": [container],
    } });
    api.merge(&format!("/api/v1/namespaces/bench/pods/{pod}/status"), &status).map(drop)
}

fn kubectl(control: &ControlPlane, words: &[&str]) -> Result<()> {
    let done = control.kubectl().args(words).output().context("starting kubectl")?;
    ensure!(done.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
