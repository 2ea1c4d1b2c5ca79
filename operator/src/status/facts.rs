//! What the index keeps of a Node, of an agent's Pod and of a NodeRuntime: only what a status can depend on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::{NodeProblem, NodeRuntime, ProfileRef, SessionStatus},
};

use super::asked::SessionAsked;
use crate::{children::TEMPLATE, watch::node_runtimes};

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeFact {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) deleting: bool,
    pub(crate) created: Option<Timestamp>,
    pub(crate) kernel: String,
    /// Its kubelet has not been heard of for a while: what it last said of its pods is old news.
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
                // Unknown is what the control plane writes when the kubelet has stopped writing.
                condition.type_ == "Ready" && condition.status == "Unknown"
            }),
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
    /// Which template its pod was made from.
    pub(crate) template: Option<String>,
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
            template: pod.labels().get(TEMPLATE).cloned(),
        })
    }
}

/// Why the API server refuses the agents' pods, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodsRefused {
    /// Pod Security: only a label of the namespace heals that.
    BySecurity(String),
    /// A quota, an admission policy, or something that passes.
    Otherwise(String),
}

/// What a node was told, and what its agent says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuntimeFact {
    pub(crate) generation: i64,
    pub(crate) told: Option<ProfileRef>,
    /// When, as far as the API server remembers.
    pub(crate) told_at: Option<Timestamp>,
    /// Name and end of each session.
    pub(crate) told_sessions: Vec<(String, Timestamp)>,
    pub(crate) observed: Option<i64>,
    pub(crate) applied: Option<ProfileRef>,
    /// Reason and message of a condition Ready that is false.
    pub(crate) not_ready: Option<(String, String)>,
    pub(crate) kernel: String,
    pub(crate) problems: Vec<NodeProblem>,
    /// Parts that are not in force, by the beginning of their digest.
    pub(crate) refused: Vec<String>,
    pub(crate) sessions: Vec<SessionStatus>,
}

impl From<&NodeRuntime> for RuntimeFact {
    fn from(runtime: &NodeRuntime) -> Self {
        let status = runtime.status.clone().unwrap_or_default();
        let ready = find(&status.conditions, ConditionType::Ready);
        Self {
            generation: runtime.metadata.generation.unwrap_or_default(),
            told: runtime.spec.profile_ref.clone(),
            told_at: node_runtimes::told_at(runtime),
            told_sessions: runtime
                .spec
                .sessions
                .iter()
                .map(|session| (session.name.clone(), session.expires_at))
                .collect(),
            observed: status.observed_generation,
            applied: status.applied_profile,
            not_ready: ready
                .filter(|condition| condition.status == ConditionStatus::False)
                .map(|condition| (condition.reason.clone(), condition.message.clone())),
            kernel: status.kernel.map(|kernel| kernel.release).unwrap_or_default(),
            problems: status.problems,
            refused: status.refused,
            sessions: status.sessions,
        }
    }
}

impl RuntimeFact {
    /// Whether the node was told of this session, and not of an older one of the same name.
    pub(crate) fn was_told(&self, session: &SessionAsked) -> bool {
        self.told_sessions.iter().any(|(name, end)| *name == session.name && *end == session.expires_at)
    }

    /// Whether `line` is about this session. A line that does not say which end it is about is believed only of a node that
    /// was told this session and has seen all that it was told.
    pub(crate) fn speaks_of(&self, line: &SessionStatus, session: &SessionAsked) -> bool {
        line.name == session.name
            && match line.expires_at {
                Some(end) => end == session.expires_at,
                None => self.observed == Some(self.generation) && self.was_told(session),
            }
    }

    /// Whether nothing is new but how sessions fare.
    pub(crate) fn is_same_but_for_sessions(&self, other: &Self) -> bool {
        // Without `..`: a new field does not compile before somebody compares it.
        let Self {
            generation,
            told,
            told_at,
            told_sessions,
            observed,
            applied,
            not_ready,
            kernel,
            problems,
            refused,
            sessions: _,
        } = self;
        (generation, told, told_at, told_sessions, observed)
            == (&other.generation, &other.told, &other.told_at, &other.told_sessions, &other.observed)
            && (applied, not_ready, kernel, problems, refused)
                == (&other.applied, &other.not_ready, &other.kernel, &other.problems, &other.refused)
    }

    /// What controllers act upon; the rest is only said.
    pub(crate) fn acted_upon(&self) -> (i64, Option<&ProfileRef>, Option<&ProfileRef>, bool) {
        (self.generation, self.told.as_ref(), self.applied.as_ref(), self.not_ready.is_some())
    }
}
