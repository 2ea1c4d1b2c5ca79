//! What every controller is given: a client, the stores, and the ways to the index and to each other.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::{
    Client,
    core::PartialObjectMeta,
    runtime::{events::Recorder, reflector::Store},
};
use tokio::sync::{mpsc, watch};
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, STACK_NAME, TracingPolicy, TracingPolicyNamespaced, node::NodeRuntime,
};

use crate::{
    args::Arguments,
    metrics::Metrics,
    plan::Plan,
    status::Report,
    watch::{self as watched, Guarded, pods::PodWatches},
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
}

impl Context {
    /// The stack, if there is one that can be read.
    pub(crate) fn stack(&self) -> Option<Arc<ObservabilityStack>> {
        let stacks = watched::all(&self.stores.stacks);
        let named = |stack: &ObservabilityStack| stack.metadata.name.as_deref() == Some(STACK_NAME);
        stacks.into_iter().find(|stack| named(stack) && stack.metadata.deletion_timestamp.is_none()).map(Arc::new)
    }

    /// Tells the index. It is bounded: a controller waits rather than lets it fall behind.
    pub(crate) async fn report(&self, report: Report) {
        if self.reports.send(report).await.is_err() {
            tracing::error!("the index of statuses has ended");
        }
    }
}
