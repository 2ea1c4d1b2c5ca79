//! Whether the operator runs: without it, every status is as old as its last one.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;
use serde::Serialize;
use trilobite_crds::{ObservabilityStack, condition::Condition, node::NodeRuntime};

use super::{finding::Finding, pod_state::most_telling};

/// Name of the operator's Deployment, and the value of its pods' label.
pub(super) const OPERATOR: &str = "trilobite-operator";
/// Twice the interval in which a running operator renews the stack's `observedAt`.
const RENEWED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperatorReport {
    pub(crate) running: bool,
    /// Why it does not run; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) next: String,
}

impl OperatorReport {
    pub(super) fn new(deployments: &[Deployment], pods: Option<&[Pod]>, namespace: &str) -> Self {
        let Some(deployment) = deployments.first() else {
            return Self {
                running: false,
                message: format!("there is no Deployment {OPERATOR} in namespace {namespace}"),
                next: "name its namespace with --trilobite-namespace, or install it: docs/how-do-i-install-it.md"
                    .into(),
            };
        };
        let name = deployment.name_any();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
        if available > 0 {
            return Self { running: true, message: String::new(), next: String::new() };
        }
        if wanted == 0 {
            return Self {
                running: false,
                message: format!("Deployment {name} in namespace {namespace} has 0 replicas"),
                next: format!("kubectl -n {namespace} scale deployment/{name} --replicas=1"),
            };
        }
        let of_operator = |pod: &&Pod| pod.labels().get("app.kubernetes.io/name").is_some_and(|name| name == OPERATOR);
        let why = match most_telling(pods.unwrap_or_default().iter().filter(of_operator)) {
            Some((pod, state)) if !state.ready => {
                let message = if state.message.is_empty() { String::new() } else { format!(": {}", state.message) };
                format!("pod {} is {}{message}", pod.name_any(), state.reason)
            }
            _ => failed_replica(deployment).unwrap_or_else(|| "none of its pods is available".into()),
        };
        Self {
            running: false,
            message: format!("Deployment {name} in namespace {namespace} has 0 of {wanted} replicas available: {why}"),
            next: format!("kubectl -n {namespace} describe pods -l app.kubernetes.io/name={OPERATOR}"),
        }
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        let object = format!("Deployment/{OPERATOR}");
        let (message, next) = (self.message.clone(), self.next.clone());
        (!self.running).then(|| Finding::with_next(object, "OperatorNotRunning", message, next))
    }
}

/// Why no pod could be made, e.g. a quota.
fn failed_replica(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failed = conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    failed.message.clone()
}

/// When the statuses were written: by the stack's `observedAt`, or else the newest change of any condition.
pub(super) fn observed_at(stacks: &[ObservabilityStack], nodes: &[NodeRuntime]) -> Option<Timestamp> {
    let renewed = stacks.iter().filter_map(|stack| stack.status.as_ref()?.observed_at).max();
    let of_stacks = stacks.iter().filter_map(|stack| Some(&stack.status.as_ref()?.common.conditions));
    let of_nodes = nodes.iter().filter_map(|node| Some(&node.status.as_ref()?.conditions));
    let newest = |conditions: &Vec<Condition>| conditions.iter().map(|condition| condition.last_transition_time).max();
    renewed.or_else(|| of_stacks.chain(of_nodes).filter_map(newest).max())
}

/// Whether a running operator must have renewed the status since; none if the status does not say.
pub(super) fn is_renewed(stacks: &[ObservabilityStack], now: Timestamp) -> Option<bool> {
    let renewed = stacks.iter().filter_map(|stack| stack.status.as_ref()?.observed_at).max()?;
    Some(now.duration_since(renewed) <= RENEWED_WITHIN)
}
