//! Everything that the stack's plan depends on: policies, nodes, and what was made before.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Node, Service};
use kube::{
    Api, ResourceExt as _,
    api::ListParams,
    core::{ObjectMeta, PartialObjectMeta},
};
use trilobite_crds::{
    TracingPolicy, TracingPolicyNamespaced,
    node::{NodeProfile, NodeRuntime, ProfilePart},
};

use crate::{
    children::{DAEMON_SET, MANAGED_BY, MANAGER},
    context::Context,
    status::AgentFact,
    watch::all,
};

/// Parts are listed without their content, so many at once.
const PAGE: u32 = 500;

/// See the head of this file.
pub(super) struct Found {
    pub(super) policies: Vec<TracingPolicy>,
    pub(super) namespaced_policies: Vec<TracingPolicyNamespaced>,
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) runtimes: BTreeMap<String, Arc<NodeRuntime>>,
    pub(super) profiles: Vec<NodeProfile>,
    /// Parts that exist.
    pub(super) parts: Vec<ObjectMeta>,
    /// Nodes on which an agent's pod is, and whether it is ready.
    pub(super) agents: BTreeMap<String, bool>,
    /// The agents' Service exists.
    pub(super) has_service: bool,
    /// How many nodes may be told in this step.
    pub(super) tokens: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listing NodeProfiles: {0}")]
    ListProfiles(#[source] kube::Error),
    #[error("listing ProfileParts: {0}")]
    ListParts(#[source] kube::Error),
    #[error("looking for Service {DAEMON_SET}: {0}")]
    GetService(#[source] kube::Error),
}

impl Error {
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::ListProfiles(_) => "ListProfiles",
            Self::ListParts(_) => "ListParts",
            Self::GetService(_) => "GetService",
        }
    }

    pub(super) fn cause(&self) -> &kube::Error {
        match self {
            Self::ListProfiles(error) | Self::ListParts(error) | Self::GetService(error) => error,
        }
    }
}

pub(super) async fn run(context: &Context) -> Result<Found, Error> {
    let stores = &context.stores;
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}")).limit(PAGE);
    let profiles: Api<NodeProfile> = Api::all(context.client.clone());
    let services: Api<Service> = Api::namespaced(context.client.clone(), &context.arguments.namespace);
    let service = services.get_metadata_opt(DAEMON_SET).await.map_err(Error::GetService)?;
    let runtimes = stores.runtimes.state();
    let agents = stores.agents.state();
    Ok(Found {
        policies: all(&stores.policies),
        namespaced_policies: all(&stores.namespaced_policies),
        nodes: stores.nodes.state(),
        runtimes: runtimes.into_iter().map(|runtime| (runtime.name_any(), runtime)).collect(),
        profiles: profiles.list(&ours).await.map_err(Error::ListProfiles)?.items,
        parts: parts(context, ours).await?,
        agents: agents.iter().filter_map(|pod| AgentFact::of(pod)).map(|agent| (agent.node, agent.ready)).collect(),
        has_service: service.is_some(),
        tokens: context.pace.tokens(Instant::now()),
    })
}

async fn parts(context: &Context, mut page: ListParams) -> Result<Vec<ObjectMeta>, Error> {
    let parts: Api<ProfilePart> = Api::all(context.client.clone());
    let mut found = Vec::new();
    loop {
        let list = parts.list_metadata(&page).await.map_err(Error::ListParts)?;
        found.extend(list.items.into_iter().map(|PartialObjectMeta { metadata, .. }| metadata));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}
