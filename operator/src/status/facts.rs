//! What the index keeps of a Node, of an agent's Pod and of a NodeRuntime: only what a status can depend on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::{NodeProblem, NodeRuntime, ProfileRef, SessionStatus},
};

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeFact {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) deleting: bool,
    pub(crate) created: Option<Timestamp>,
    pub(crate) kernel: String,
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
        }
    }
}

/// An agent's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentFact {
    pub(crate) node: String,
    pub(crate) ready: bool,
    pub(crate) running: bool,
    /// Since when it is ready, or not.
    pub(crate) since: Option<Timestamp>,
    /// Why its container does not run, in the kubelet's word: `ImagePullBackOff`, `CrashLoopBackOff`.
    pub(crate) waiting: Option<String>,
}

impl AgentFact {
    /// None while the pod has no node, or is on its way out.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.clone().unwrap_or_default();
        let node = spec.node_name.clone().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let states = status.container_statuses.iter().flatten().filter_map(|container| container.state.as_ref());
        let waiting = states.filter_map(|state| state.waiting.as_ref()).find_map(|waiting| waiting.reason.clone());
        let created = pod.creation_timestamp().map(|time| time.0);
        Some(Self {
            node,
            ready: ready.is_some_and(|condition| condition.status == "True"),
            running: status.phase.as_deref() == Some("Running") && waiting.is_none(),
            since: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0).or(created),
            waiting,
        })
    }
}

/// What a node was told, and what its agent says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuntimeFact {
    pub(crate) generation: i64,
    pub(crate) told: Option<ProfileRef>,
    pub(crate) told_sessions: Vec<String>,
    pub(crate) observed: Option<i64>,
    pub(crate) applied: Option<ProfileRef>,
    /// Reason and message of a condition Ready that is false.
    pub(crate) not_ready: Option<(String, String)>,
    pub(crate) kernel: String,
    pub(crate) problems: Vec<NodeProblem>,
    pub(crate) sessions: Vec<SessionStatus>,
}

impl From<&NodeRuntime> for RuntimeFact {
    fn from(runtime: &NodeRuntime) -> Self {
        let status = runtime.status.clone().unwrap_or_default();
        let ready = find(&status.conditions, ConditionType::Ready);
        Self {
            generation: runtime.metadata.generation.unwrap_or_default(),
            told: runtime.spec.profile_ref.clone(),
            told_sessions: runtime.spec.sessions.iter().map(|session| session.name.clone()).collect(),
            observed: status.observed_generation,
            applied: status.applied_profile,
            not_ready: ready
                .filter(|condition| condition.status == ConditionStatus::False)
                .map(|condition| (condition.reason.clone(), condition.message.clone())),
            kernel: status.kernel.map(|kernel| kernel.release).unwrap_or_default(),
            problems: status.problems,
            sessions: status.sessions,
        }
    }
}
