//! Everything that the stack's plan depends on: policies, nodes, and the objects that exist already.

mod relay;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Node, Service};
use kube::{
    Api, ResourceExt as _,
    api::ListParams,
    core::{ObjectMeta, PartialObjectMeta},
};
use trilobite_crds::{
    CiliumTracingPolicy, CiliumTracingPolicyNamespaced, TracingPolicy, TracingPolicyNamespaced,
    node::{NodeProfile, NodeRuntime, ProfilePart},
};

pub(super) use self::relay::{DereferencedRelay, available_replicas, dereference_registration};
use self::relay::{GetError, dereference_relay};
use crate::{
    context::Context,
    labels::{DAEMON_SET, MANAGED_BY, MANAGER},
    status::AgentFact,
    watch::readable_objects,
};

/// ProfileParts are listed as metadata only, so a page can be large.
const PAGE: u32 = 500;

pub(super) struct DereferencedStack {
    pub(super) policies: Vec<TracingPolicy>,
    pub(super) namespaced_policies: Vec<TracingPolicyNamespaced>,
    pub(super) cilium_policies: Vec<CiliumTracingPolicy>,
    pub(super) cilium_namespaced_policies: Vec<CiliumTracingPolicyNamespaced>,
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) runtimes: BTreeMap<String, Arc<NodeRuntime>>,
    pub(super) profiles: Vec<NodeProfile>,
    /// Metadata of the existing ProfileParts.
    pub(super) parts: Vec<ObjectMeta>,
    /// Nodes that have an agent's pod, and whether it is ready.
    pub(super) agents: BTreeMap<String, bool>,
    /// The agents' metrics Service exists.
    pub(super) has_service: bool,
    pub(super) relay: DereferencedRelay,
    /// How many nodes the rate limiter allows to update in this step.
    pub(super) tokens: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DereferenceError {
    #[error("listing NodeProfiles: {0}")]
    ListProfiles(#[source] kube::Error),
    #[error("listing ProfileParts: {0}")]
    ListParts(#[source] kube::Error),
    #[error(transparent)]
    Get(#[from] GetError),
}

impl DereferenceError {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::ListProfiles(_) => "ListProfiles",
            Self::ListParts(_) => "ListParts",
            Self::Get(_) => "Get",
        }
    }

    pub(super) fn cause(&self) -> &kube::Error {
        match self {
            Self::ListProfiles(error) | Self::ListParts(error) => error,
            Self::Get(GetError { source, .. }) => source,
        }
    }
}

pub(super) async fn dereference(context: &Context) -> Result<DereferencedStack, DereferenceError> {
    let stores = &context.stores;
    let managed = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}")).limit(PAGE);
    let profiles: Api<NodeProfile> = Api::all(context.client.clone());
    let services: Api<Service> = Api::namespaced(context.client.clone(), &context.arguments.namespace);
    let service = services.get_metadata_opt(DAEMON_SET).await;
    let service = service.map_err(|source| GetError { kind: "Service", name: DAEMON_SET, source })?;
    let runtimes = stores.runtimes.state();
    let pods = stores.agent_pods.state();
    Ok(DereferencedStack {
        policies: readable_objects(&stores.policies),
        namespaced_policies: readable_objects(&stores.namespaced_policies),
        cilium_policies: readable_objects(&stores.cilium_policies),
        cilium_namespaced_policies: readable_objects(&stores.cilium_namespaced_policies),
        nodes: stores.nodes.state(),
        runtimes: runtimes.into_iter().map(|runtime| (runtime.name_any(), runtime)).collect(),
        profiles: profiles.list(&managed).await.map_err(DereferenceError::ListProfiles)?.items,
        parts: list_parts(context, managed).await?,
        agents: pods.iter().filter_map(|pod| AgentFact::from_pod(pod)).map(|agent| (agent.node, agent.ready)).collect(),
        has_service: service.is_some(),
        relay: dereference_relay(context).await?,
        tokens: context.rollout_limiter.available(Instant::now()),
    })
}

async fn list_parts(context: &Context, mut page: ListParams) -> Result<Vec<ObjectMeta>, DereferenceError> {
    let api: Api<ProfilePart> = Api::all(context.client.clone());
    let mut parts = Vec::new();
    loop {
        let list = api.list_metadata(&page).await.map_err(DereferenceError::ListParts)?;
        parts.extend(list.items.into_iter().map(|PartialObjectMeta { metadata, .. }| metadata));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(parts),
        }
    }
}
