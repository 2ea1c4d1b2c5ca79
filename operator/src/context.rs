//! What every controller is given: a client, the stores, and the ways to the index and to each other.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{
    Client,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{events::Recorder, reflector::Store},
};
use tokio::sync::{mpsc, watch};
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, STACK_NAME, TracingPolicy, TracingPolicyNamespaced, node::NodeRuntime,
};

use crate::{
    args::Arguments,
    controllers::stack::Pace,
    metrics::Metrics,
    plan::Plan,
    status::Report,
    watch::{Guarded, pods::PodWatches},
};

/// Everything that is kept in memory.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) stacks: Store<Guarded<ObservabilityStack>>,
    pub(crate) policies: Store<Guarded<TracingPolicy>>,
    pub(crate) namespaced_policies: Store<Guarded<TracingPolicyNamespaced>>,
    pub(crate) captures: Store<Guarded<FlowCapture>>,
    pub(crate) profiles: Store<Guarded<AppProfile>>,
    pub(crate) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(crate) nodes: Store<Node>,
    pub(crate) runtimes: Store<NodeRuntime>,
    /// The agents' pods.
    pub(crate) agents: Store<Pod>,
}

/// The stack, as far as it can be known.
#[derive(Clone, Debug)]
pub(crate) enum StackNow {
    /// There is none, or it is on its way out.
    Absent,
    /// There is one, and this version cannot read it: whatever stands is left as it is.
    Unreadable,
    There(Arc<ObservabilityStack>),
}

impl StackNow {
    fn among<'a>(stacks: impl IntoIterator<Item = &'a Guarded<ObservabilityStack>>) -> Self {
        for DeserializeGuard(read) in stacks {
            let meta = match read {
                Ok(stack) => &stack.metadata,
                Err(invalid) => &invalid.metadata,
            };
            if meta.name.as_deref() != Some(STACK_NAME) || meta.deletion_timestamp.is_some() {
                continue;
            }
            return match read {
                Ok(stack) => Self::There(Arc::new(stack.clone())),
                Err(_) => Self::Unreadable,
            };
        }
        Self::Absent
    }

    /// The stack, if it can be read.
    pub(crate) fn there(&self) -> Option<&ObservabilityStack> {
        match self {
            Self::There(stack) => Some(stack),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// See the head of this file.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) arguments: Arguments,
    pub(crate) stores: Stores,
    /// The last plan that was applied; none without a stack.
    pub(crate) plan: watch::Sender<Option<Arc<Plan>>>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pods: PodWatches,
    pub(crate) recorder: Recorder,
    /// How fast nodes are told.
    pub(crate) pace: Pace,
}

impl Context {
    pub(crate) fn stack(&self) -> StackNow {
        let stacks = self.stores.stacks.state();
        StackNow::among(stacks.iter().map(Arc::as_ref))
    }

    /// Tells the index. It is bounded: a controller waits rather than lets it fall behind.
    pub(crate) async fn report(&self, report: Report) {
        if self.reports.send(report).await.is_err() {
            tracing::error!("the index of statuses has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(metadata: serde_json::Value, spec: serde_json::Value) -> Guarded<ObservabilityStack> {
        let kind = json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "ObservabilityStack"});
        let mut object = kind;
        (object["metadata"], object["spec"]) = (metadata, spec);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_stack_that_cannot_be_read_is_not_taken_for_no_stack() {
        let unreadable = stored(json!({"name": "default"}), json!({"security": "strict"}));
        assert!(matches!(StackNow::among([&unreadable]), StackNow::Unreadable));
        assert!(matches!(StackNow::among([]), StackNow::Absent));
        let readable = stored(json!({"name": "default"}), json!({}));
        assert!(StackNow::among([&readable]).there().is_some());
    }

    #[test]
    fn a_stack_that_is_on_its_way_out_is_none() {
        let going = json!({"name": "default", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(matches!(StackNow::among([&stored(going, json!({}))]), StackNow::Absent));
    }
}
