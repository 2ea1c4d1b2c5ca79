//! Everything that the stack's plan depends on: policies, nodes, and what was made before.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Node;
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
    children::{MANAGED_BY, MANAGER},
    context::Context,
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
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("listing NodeProfiles: {0}")]
    ListProfiles(#[source] kube::Error),
    #[error("listing ProfileParts: {0}")]
    ListParts(#[source] kube::Error),
}

impl Error {
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::ListProfiles(_) => "ListProfiles",
            Self::ListParts(_) => "ListParts",
        }
    }

    pub(super) fn cause(&self) -> &kube::Error {
        match self {
            Self::ListProfiles(error) | Self::ListParts(error) => error,
        }
    }
}

pub(super) async fn run(context: &Context) -> Result<Found, Error> {
    let stores = &context.stores;
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}")).limit(PAGE);
    let profiles: Api<NodeProfile> = Api::all(context.client.clone());
    let runtimes = stores.runtimes.state();
    Ok(Found {
        policies: all(&stores.policies),
        namespaced_policies: all(&stores.namespaced_policies),
        nodes: stores.nodes.state(),
        runtimes: runtimes.into_iter().map(|runtime| (runtime.name_any(), runtime)).collect(),
        profiles: profiles.list(&ours).await.map_err(Error::ListProfiles)?.items,
        parts: parts(context, ours).await?,
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
