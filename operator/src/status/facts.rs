//! What the index keeps of a Node, an agent's Pod and a NodeRuntime: only the fields that a status depends on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::{NodeProblem, NodeRuntime, ProfileRef, SessionStatus},
};

use super::controller_report::SessionRequest;
use crate::{labels::TEMPLATE, watch::node_runtimes::spec_written_at};

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
    /// The kubelet's reason why the container waits, e.g. `ImagePullBackOff`, `CrashLoopBackOff`.
    pub(crate) waiting: Option<String>,
    /// Digest of the template that the pod was made from.
    pub(crate) template: Option<String>,
}

impl AgentFact {
    /// None if the pod has no node or is being deleted.
    pub(crate) fn from_pod(pod: &Pod) -> Option<Self> {
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
    pub(crate) kernel: String,
    pub(crate) problems: Vec<NodeProblem>,
    /// Parts that are not active, by a prefix of their digest.
    pub(crate) refused_parts: Vec<String>,
    pub(crate) sessions: Vec<SessionStatus>,
}

impl From<&NodeRuntime> for RuntimeFact {
    fn from(runtime: &NodeRuntime) -> Self {
        let status = runtime.status.clone().unwrap_or_default();
        let ready = find(&status.conditions, ConditionType::Ready);
        Self {
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
                .map(|condition| (condition.reason.clone(), condition.message.clone())),
            kernel: status.kernel.map(|kernel| kernel.release).unwrap_or_default(),
            problems: status.problems,
            refused_parts: status.refused,
            sessions: status.sessions,
        }
    }
}

impl RuntimeFact {
    /// Whether the spec contains this session, and not an older one of the same name.
    pub(crate) fn has_session(&self, session: &SessionRequest) -> bool {
        self.desired_sessions.iter().any(|(name, end)| *name == session.name && *end == session.expires_at)
    }

    /// Whether `status` is about this session. Older agents report no `expires_at`; their status is only trusted if the
    /// spec contains this session and the agent has observed that spec.
    pub(crate) fn is_status_of(&self, status: &SessionStatus, session: &SessionRequest) -> bool {
        status.name == session.name
            && match status.expires_at {
                Some(end) => end == session.expires_at,
                None => self.observed_generation == Some(self.generation) && self.has_session(session),
            }
    }

    /// Whether the two differ in the status of sessions at most.
    pub(crate) fn equals_except_sessions(&self, other: &Self) -> bool {
        // Without `..`: a new field does not compile before it is compared here.
        let Self {
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
            sessions: _,
        } = self;
        (generation, desired_profile, spec_written_at, desired_sessions, observed_generation)
            == (
                &other.generation,
                &other.desired_profile,
                &other.spec_written_at,
                &other.desired_sessions,
                &other.observed_generation,
            )
            && (applied_profile, not_ready, kernel, problems, refused_parts)
                == (&other.applied_profile, &other.not_ready, &other.kernel, &other.problems, &other.refused_parts)
    }

    /// The fields that controllers reconcile on; the others only appear in statuses.
    pub(crate) fn reconciled_fields(&self) -> (i64, Option<&ProfileRef>, Option<&ProfileRef>, bool) {
        (self.generation, self.desired_profile.as_ref(), self.applied_profile.as_ref(), self.not_ready.is_some())
    }
}
