//! `Context`, which every controller gets: a client, the caches, and the channels to the status index (`status/index.rs`) and
//! between controllers.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Namespace, Node, Pod},
    kube_aggregator::pkg::apis::apiregistration::v1::APIServiceCondition,
};
use kube::{
    Client,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        events::Recorder,
        reflector::{ObjectRef, Store},
    },
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use trilobite_crds::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, STACK_NAME,
    TracingPolicy, TracingPolicyNamespaced, node::NodeRuntime,
};

use crate::{
    args::Arguments, certificate_authority::Authority, metrics::Metrics, plan::Plan, rate_limiter::RateLimiter,
    start_times::StartTimes, status::ControllerReport, watch::pods::PodWatches,
};

/// The caches of all watched kinds.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) stacks: Store<DeserializeGuard<ObservabilityStack>>,
    pub(crate) policies: Store<DeserializeGuard<TracingPolicy>>,
    pub(crate) namespaced_policies: Store<DeserializeGuard<TracingPolicyNamespaced>>,
    pub(crate) cilium_policies: Store<DeserializeGuard<CiliumTracingPolicy>>,
    pub(crate) cilium_namespaced_policies: Store<DeserializeGuard<CiliumTracingPolicyNamespaced>>,
    pub(crate) captures: Store<DeserializeGuard<FlowCapture>>,
    pub(crate) profiles: Store<DeserializeGuard<AppProfile>>,
    pub(crate) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(crate) nodes: Store<Node>,
    pub(crate) runtimes: Store<NodeRuntime>,
    /// Pods of the agents' DaemonSet.
    pub(crate) agent_pods: Store<Pod>,
}

#[derive(Clone, Debug)]
pub(crate) enum StackState {
    /// No stack exists, or it is being deleted.
    Absent,
    /// The stack exists and this version cannot deserialize it: whatever was applied stays.
    Unreadable,
    Present(Arc<ObservabilityStack>),
}

impl StackState {
    fn find_among<'a>(stacks: impl IntoIterator<Item = &'a DeserializeGuard<ObservabilityStack>>) -> Self {
        for DeserializeGuard(stack) in stacks {
            let meta = match stack {
                Ok(stack) => &stack.metadata,
                Err(invalid) => &invalid.metadata,
            };
            if meta.name.as_deref() != Some(STACK_NAME) || meta.deletion_timestamp.is_some() {
                continue;
            }
            return match stack {
                Ok(stack) => Self::Present(Arc::new(stack.clone())),
                Err(_) => Self::Unreadable,
            };
        }
        Self::Absent
    }

    pub(crate) fn present(&self) -> Option<&ObservabilityStack> {
        match self {
            Self::Present(stack) => Some(stack),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// The APIService was deleted because the API server could not reach the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Withdrawal {
    pub(crate) at: Timestamp,
    /// As the API server said.
    pub(crate) why: String,
}

impl Withdrawal {
    pub(crate) fn new(unavailable: &APIServiceCondition, at: Timestamp) -> Self {
        let why = unavailable.message.clone().or_else(|| unavailable.reason.clone()).unwrap_or_default();
        Self { at, why }
    }
}

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) arguments: Arguments,
    pub(crate) stores: Stores,
    /// The last plan that was applied; none without a stack.
    pub(crate) plan: watch::Sender<Option<Arc<Plan>>>,
    pub(crate) reports: mpsc::Sender<ControllerReport>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pod_watches: PodWatches,
    pub(crate) recorder: Recorder,
    /// The CA that signs certificates of agents and the relay; none while no relay is wanted.
    pub(crate) authority: watch::Sender<Option<Arc<Authority>>>,
    pub(crate) withdrawal: Mutex<Option<Withdrawal>>,
    /// Since when the API server has not reached the relay, by the operator's clock.
    pub(crate) unreachable_since: Mutex<Option<Timestamp>>,
    pub(crate) starts: StartTimes,
    /// Limits how many nodes a rollout updates in a second.
    pub(crate) rollout_limiter: RateLimiter,
}

impl Context {
    pub(crate) fn stack(&self) -> StackState {
        let stacks = self.stores.stacks.state();
        StackState::find_among(stacks.iter().map(Arc::as_ref))
    }

    /// The operator's own namespace, in which the relay runs, is being deleted or gone.
    pub(crate) fn namespace_ends(&self) -> bool {
        let namespace = self.stores.namespaces.get(&ObjectRef::new(&self.arguments.namespace));
        namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Sends a report to the index. The channel is bounded, so a controller waits while the index is behind.
    pub(crate) async fn report(&self, report: ControllerReport) {
        if self.reports.send(report).await.is_err() {
            tracing::error!("the status index has stopped");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(metadata: serde_json::Value, spec: serde_json::Value) -> DeserializeGuard<ObservabilityStack> {
        let mut object = json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "ObservabilityStack"});
        (object["metadata"], object["spec"]) = (metadata, spec);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_unreadable_stack_is_not_an_absent_one() {
        let unreadable = stored(json!({"name": "default"}), json!({"security": "strict"}));
        assert!(matches!(StackState::find_among([&unreadable]), StackState::Unreadable));
        assert!(matches!(StackState::find_among([]), StackState::Absent));
        let valid = stored(json!({"name": "default"}), json!({}));
        assert!(StackState::find_among([&valid]).present().is_some());
    }

    #[test]
    fn a_stack_that_is_being_deleted_is_absent() {
        let deleting = json!({"name": "default", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(matches!(StackState::find_among([&stored(deleting, json!({}))]), StackState::Absent));
    }
}
