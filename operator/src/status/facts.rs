//! What the index keeps of a Node, an agent's Pod and a NodeRuntime: only the fields that a status depends on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Node, Pod, PodSpec, Taint};
use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, MAX_MESSAGE, find},
    node::{NodeProblem, NodeRuntime, ProfileRef, SessionStatus},
};

use super::{controller_report::SessionRequest, node_text::node_text};
use crate::{labels::TEMPLATE, watch::node_runtimes::spec_written_at};

/// The container of the DaemonSet's pods that is the agent.
const AGENT_CONTAINER: &str = "agent";

/// Most characters of a kernel's release, as in the schema.
const MAX_KERNEL: usize = 128;

/// Characters of a digest by which a node names a part.
const DIGEST_PREFIX: usize = 16;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeFact {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) deleting: bool,
    pub(crate) created: Option<Timestamp>,
    pub(crate) kernel: String,
    /// The kubelet has stopped reporting, so the state of its pods may be outdated.
    pub(crate) silent: bool,
}

impl From<&Node> for NodeFact {
    fn from(node: &Node) -> Self {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        Self {
            labels: node.labels().clone(),
            taints: node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            deleting: node.metadata.deletion_timestamp.is_some(),
            created: node.creation_timestamp().map(|time| time.0),
            kernel: info.map(|info| info.kernel_version.clone()).unwrap_or_default(),
            silent: node.status.iter().flat_map(|status| status.conditions.iter().flatten()).any(|condition| {
                // The control plane sets Unknown when the kubelet stops reporting.
                condition.type_ == "Ready" && condition.status == "Unknown"
            }),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentFact {
    pub(crate) node: String,
    pub(crate) ready: bool,
    pub(crate) running: bool,
    /// Last transition of the pod's condition Ready.
    pub(crate) since: Option<Timestamp>,
    /// Why the agent does not run, in the kubelet's words, e.g. `ImagePullBackOff` or `CrashLoopBackOff, exit code 101`.
    pub(crate) waiting: Option<String>,
    /// The agent does not run because it was killed for lack of memory.
    pub(crate) out_of_memory: Option<OutOfMemory>,
    /// Another container of the pod that does not run, and why.
    pub(crate) other_waiting: Option<String>,
    /// Digest of the template that the pod was made from.
    pub(crate) template: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    /// The container's memory limit, as the pod has it.
    pub(crate) limit: Option<String>,
}

impl AgentFact {
    /// None if the pod has no node or is being deleted.
    pub(crate) fn from_pod(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.clone().unwrap_or_default();
        let node = spec.node_name.clone().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let (agents, others): (Vec<_>, Vec<_>) =
            containers.iter().partition(|container| container.name == AGENT_CONTAINER);
        // A pod that was evicted has a reason of its own.
        let waiting = agents.iter().copied().find_map(why_waiting).or_else(|| status.reason.clone());
        let created = pod.creation_timestamp().map(|time| time.0);
        Some(Self {
            node,
            ready: ready.is_some_and(|condition| condition.status == "True"),
            running: status.phase.as_deref() == Some("Running") && waiting.is_none(),
            since: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0).or(created),
            waiting,
            out_of_memory: agents.iter().find_map(|container| out_of_memory(container, spec)),
            other_waiting: others
                .iter()
                .find_map(|container| Some(format!("{}: {}", container.name, why_waiting(container)?))),
            template: pod.labels().get(TEMPLATE).cloned(),
        })
    }
}

/// Why a pod does not serve, as far as it says: a container that does not run, or no node to run on.
pub(crate) fn waiting_reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().find_map(why_waiting);
    let unscheduled = || {
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")?;
        let message = condition.message.as_deref().filter(|_| condition.status == "False")?;
        Some(node_text(message, MAX_MESSAGE))
    };
    let running = || (status.phase.as_deref() == Some("Running")).then(|| "its pod runs and is not ready".to_owned());
    container.or_else(|| status.reason.clone()).or_else(unscheduled).or_else(running)
}

/// The kubelet's reason, and how the container's last run ended.
fn why_waiting(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(ended) = &state.terminated {
        let reason = ended.reason.as_deref().unwrap_or("ended");
        return Some(format!("{reason}, exit code {}", ended.exit_code));
    }
    let reason = state.waiting.as_ref()?.reason.clone()?;
    let last_run = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    Some(match last_run.filter(|_| reason == "CrashLoopBackOff") {
        Some(ended) => format!("{reason}, exit code {}", ended.exit_code),
        None => reason,
    })
}

/// Set only while the container does not run: what ended an earlier run says nothing about the present one.
fn out_of_memory(container: &ContainerStatus, spec: &PodSpec) -> Option<OutOfMemory> {
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
    let runs = container.state.as_ref().is_some_and(|state| state.running.is_some());
    let last_run = ended(&container.state).or_else(|| ended(&container.last_state)).filter(|_| !runs)?;
    if last_run.reason.as_deref() != Some("OOMKilled") {
        return None;
    }
    let planned = spec.containers.iter().find(|planned| planned.name == container.name);
    let resources = planned.and_then(|planned| planned.resources.as_ref());
    let limit = resources.and_then(|resources| resources.limits.as_ref()?.get("memory").map(|limit| limit.0.clone()));
    Some(OutOfMemory { limit })
}

/// Why the API server refuses the agents' pods, as its message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodsRefused {
    /// Pod Security; a label of the namespace is needed.
    BySecurity(String),
    /// A quota, an admission policy, or a temporary failure.
    Otherwise(String),
}

/// The spec of a NodeRuntime, and the status that the agent reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuntimeFact {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) desired_profile: Option<ProfileRef>,
    /// When the operator last changed the spec, as recorded by the API server.
    pub(crate) spec_written_at: Option<Timestamp>,
    /// Name and end of each session.
    pub(crate) desired_sessions: Vec<(String, Timestamp)>,
    pub(crate) observed_generation: Option<i64>,
    pub(crate) applied_profile: Option<ProfileRef>,
    /// Reason and message of a condition Ready that is false.
    pub(crate) not_ready: Option<(String, String)>,
    /// Ready is Unknown: the operator took the agent for silent, and it has not reported since.
    pub(crate) ready_unknown: bool,
    pub(crate) kernel: String,
    pub(crate) problems: Vec<NodeProblem>,
    /// Parts that are not active, by a prefix of their digest.
    pub(crate) refused_parts: Vec<String>,
    pub(crate) sessions: Vec<SessionStatus>,
    /// Parts that are not for this node, by a prefix of their digest.
    pub(crate) skipped_parts: Vec<String>,
    /// How many pods each active policy selects on the node, by a prefix of its part's digest.
    pub(crate) pods_selected: BTreeMap<String, i32>,
}

fn with_node_text(problem: NodeProblem) -> NodeProblem {
    NodeProblem { message: node_text(&problem.message, MAX_MESSAGE), ..problem }
}

impl From<&NodeRuntime> for RuntimeFact {
    fn from(runtime: &NodeRuntime) -> Self {
        let status = runtime.status.clone().unwrap_or_default();
        let ready = find(&status.conditions, ConditionType::Ready);
        Self {
            uid: runtime.metadata.uid.clone().unwrap_or_default(),
            ready_unknown: ready.is_some_and(|condition| condition.status == ConditionStatus::Unknown),
            generation: runtime.metadata.generation.unwrap_or_default(),
            desired_profile: runtime.spec.profile_ref.clone(),
            spec_written_at: spec_written_at(runtime),
            desired_sessions: runtime
                .spec
                .sessions
                .iter()
                .map(|session| (session.name.clone(), session.expires_at))
                .collect(),
            observed_generation: status.observed_generation,
            applied_profile: status.applied_profile,
            not_ready: ready
                .filter(|condition| condition.status == ConditionStatus::False)
                .map(|condition| (condition.reason.clone(), node_text(&condition.message, MAX_MESSAGE))),
            kernel: status.kernel.map(|kernel| node_text(&kernel.release, MAX_KERNEL)).unwrap_or_default(),
            problems: status.problems.into_iter().map(with_node_text).collect(),
            refused_parts: status.refused,
            sessions: status.sessions,
            skipped_parts: status.skipped,
            // Nodes report the counts, so they may be anything.
            pods_selected: status.pods_selected.into_iter().map(|count| (count.part, count.pods.max(0))).collect(),
        }
    }
}

/// By which a node names a part.
pub(super) fn digest_prefix(digest: &str) -> &str {
    digest.get(..DIGEST_PREFIX).unwrap_or(digest)
}

impl RuntimeFact {
    /// Whether the spec contains this session, and not an older one of the same name.
    pub(crate) fn has_session(&self, session: &SessionRequest) -> bool {
        self.desired_sessions.iter().any(|(name, end)| *name == session.name && *end == session.expires_at)
    }

    /// Whether `status` is about this session. What a node says about a session that it was not given is ignored. Older
    /// agents report no `expires_at`; their status is only trusted if they have observed the spec with the session.
    pub(crate) fn is_status_of(&self, status: &SessionStatus, session: &SessionRequest) -> bool {
        status.name == session.name
            && self.has_session(session)
            && match status.expires_at {
                Some(end) => end == session.expires_at,
                None => self.observed_generation == Some(self.generation),
            }
    }

    /// Whether the node has reported that this part is not for it.
    pub(crate) fn skips(&self, digest: &str) -> bool {
        self.skipped_parts.iter().any(|skipped| skipped == digest_prefix(digest))
    }

    /// How many pods of the node the policy with this part selects, as far as its agent has reported.
    pub(crate) fn pods_selected_by(&self, digest: &str) -> i32 {
        self.pods_selected.get(digest_prefix(digest)).copied().unwrap_or_default()
    }

    /// Whether the two differ at most in the status of sessions and in how many pods policies select.
    pub(crate) fn equals_except_counts(&self, other: &Self) -> bool {
        // Without `..`: a new field does not compile before it is compared here.
        let Self {
            uid,
            ready_unknown,
            generation,
            desired_profile,
            spec_written_at,
            desired_sessions,
            observed_generation,
            applied_profile,
            not_ready,
            kernel,
            problems,
            refused_parts,
            skipped_parts,
            sessions: _,
            pods_selected: _,
        } = self;
        (generation, desired_profile, spec_written_at, desired_sessions, observed_generation)
            == (
                &other.generation,
                &other.desired_profile,
                &other.spec_written_at,
                &other.desired_sessions,
                &other.observed_generation,
            )
            && (uid, ready_unknown) == (&other.uid, &other.ready_unknown)
            && (applied_profile, not_ready, kernel, problems)
                == (&other.applied_profile, &other.not_ready, &other.kernel, &other.problems)
            && (refused_parts, skipped_parts) == (&other.refused_parts, &other.skipped_parts)
    }

    /// The fields that controllers reconcile on; the others only appear in statuses.
    pub(crate) fn reconciled_fields(&self) -> (i64, Option<&ProfileRef>, Option<&ProfileRef>, bool) {
        (self.generation, self.desired_profile.as_ref(), self.applied_profile.as_ref(), self.not_ready.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fact of a pod whose only container has these states.
    fn agent(state: serde_json::Value, last_state: serde_json::Value) -> AgentFact {
        let pod = json!({
            "metadata": {"name": "pod-1"},
            "spec": {"nodeName": "reef-1", "containers": [
                {"name": "agent", "resources": {"limits": {"memory": "128Mi"}}}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "agent", "image": "", "imageID": "",
                "ready": false, "restartCount": 3, "state": state, "lastState": last_state}]},
        });
        AgentFact::from_pod(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn a_killed_container_that_waits_is_out_of_memory() {
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let fact = agent(json!({"waiting": {"reason": "CrashLoopBackOff"}}), killed.clone());
        assert_eq!(fact.out_of_memory, Some(OutOfMemory { limit: Some("128Mi".into()) }));
        assert_eq!(fact.waiting.as_deref(), Some("CrashLoopBackOff, exit code 137"));
        assert!(agent(killed.clone(), json!({})).out_of_memory.is_some(), "it has just been killed");
        assert_eq!(agent(json!({"running": {}}), killed).out_of_memory, None, "it runs again");
    }

    #[test]
    fn pod_that_does_not_serve_says_why() {
        let reason = |status: serde_json::Value| {
            waiting_reason(&serde_json::from_value(json!({"metadata": {"name": "pod-1"}, "status": status})).unwrap())
        };
        let waiting = json!({"phase": "Pending", "containerStatuses": [{"name": "relay", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        assert_eq!(reason(waiting).as_deref(), Some("ImagePullBackOff"));
        let homeless = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}]});
        assert_eq!(reason(homeless).as_deref(), Some("0/2 nodes are available"));
        let evicted = json!({"phase": "Failed", "reason": "Evicted"});
        assert_eq!(reason(evicted).as_deref(), Some("Evicted"));
        assert_eq!(reason(json!({"phase": "Running"})).as_deref(), Some("its pod runs and is not ready"));
        assert_eq!(reason(json!({"phase": "Pending"})), None);
    }

    #[test]
    fn another_container_that_waits_is_not_the_agent() {
        let states = json!([
            {"name": "export-stdout", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            {"name": "agent", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}},
        ]);
        let pod = json!({"metadata": {"name": "pod-1"}, "spec": {"nodeName": "reef-1", "containers": []},
            "status": {"phase": "Running", "containerStatuses": states}});
        let fact = AgentFact::from_pod(&serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!((fact.running, fact.waiting, fact.out_of_memory), (true, None, None));
        assert_eq!(fact.other_waiting.as_deref(), Some("export-stdout: CrashLoopBackOff, exit code 137"));
    }

    #[test]
    fn a_container_that_ended_with_an_error_is_not_out_of_memory() {
        let ended = json!({"terminated": {"exitCode": 101, "reason": "Error"}});
        let fact = agent(json!({"waiting": {"reason": "CrashLoopBackOff"}}), ended.clone());
        assert_eq!((fact.out_of_memory, fact.waiting.as_deref()), (None, Some("CrashLoopBackOff, exit code 101")));
        let just_ended = agent(ended, json!({}));
        assert_eq!((just_ended.running, just_ended.waiting.as_deref()), (false, Some("Error, exit code 101")));
        let runs = agent(json!({"running": {}}), json!({}));
        assert_eq!((runs.running, runs.waiting), (true, None));
    }
}
