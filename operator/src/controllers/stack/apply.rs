//! Applies the built objects, in this order: parts before the profile that lists them, the profile before the
//! references to it; NodeRuntimes of unselected nodes are deleted before the DaemonSet removes their pods; other
//! garbage last.

#[cfg(test)]
mod tests;

use std::{fmt::Debug, marker::PhantomData};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Secret, Service},
        policy::v1::PodDisruptionBudget,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::ClusterResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use trilobite_crds::{
    node::{NodeProfile, NodeRuntime, ProfilePart},
    read_api::{API_SERVICE, HUBBLE_PEER, HUBBLE_RELAY, HUBBLE_RELAY_SECRET, RELAY},
};

use super::{
    build::{Garbage, HubbleRelayObjects, OwnedObjects, RelayGarbage, RelayObjects},
    delete::delete_if_present,
    teardown::UNLOAD_TIME,
};
use crate::{
    controllers::phase::{Applied, Prepared},
    labels::{DAEMON_SET, MANAGER},
};

/// The field of the stack that the agents' objects are made of.
pub(super) const RUNTIME: &str = "spec.runtime";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("applying {kind} {name}: {source}")]
    Apply { kind: String, name: String, source: kube::Error },
    #[error("deleting {kind} {name}: {source}")]
    Delete { kind: String, name: String, source: kube::Error },
}

impl ApplyError {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "Apply",
            Self::Delete { .. } => "Delete",
        }
    }

    pub(super) fn cause(&self) -> &kube::Error {
        match self {
            Self::Apply { source, .. } | Self::Delete { source, .. } => source,
        }
    }
}

/// An object that Kubernetes rejects because of `spec.runtime` or `spec.relay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RejectedObject {
    pub(super) field: &'static str,
    pub(super) kind: String,
    pub(super) why: String,
}

/// Returns the applied objects, and those of the agents' pods that Kubernetes rejects: only another spec resolves that,
/// and running agents get their policies meanwhile.
pub(super) async fn apply(
    objects: OwnedObjects<Prepared>,
    client: &Client,
) -> Result<(OwnedObjects<Applied>, Vec<RejectedObject>), ApplyError> {
    // Without `..`: a new kind of object does not compile before it is applied here.
    let OwnedObjects {
        parts,
        profile,
        config_map,
        service,
        daemon_set,
        runtimes,
        port_changes,
        relay,
        garbage,
        rollout,
        remaining_nodes,
        namespace,
        phase: PhantomData,
    } = objects;
    if garbage.relay.api_service {
        delete(&Api::<APIService>::all(client.clone()), API_SERVICE).await?;
    }
    for part in &parts {
        apply_cluster_scoped(client, part).await?;
    }
    apply_cluster_scoped(client, &profile).await?;
    unload_unselected_nodes(client, &garbage).await?;
    let mut rejected = Vec::new();
    rejected.extend(as_rejection(RUNTIME, apply_namespaced(client, &namespace, &config_map).await)?);
    if let Some(service) = &service {
        rejected.extend(as_rejection(RUNTIME, apply_namespaced(client, &namespace, service).await)?);
    }
    rejected.extend(as_rejection(RUNTIME, apply_namespaced(client, &namespace, &daemon_set).await)?);
    for runtime in runtimes.iter().chain(&port_changes) {
        apply_cluster_scoped(client, runtime).await?;
    }
    if let Some(relay) = &relay {
        rejected.extend(apply_relay(client, &namespace, relay).await?);
    }
    delete_garbage(client, &namespace, &garbage).await?;
    let applied = OwnedObjects {
        parts,
        profile,
        config_map,
        service,
        daemon_set,
        runtimes,
        port_changes,
        relay,
        garbage,
        rollout,
        remaining_nodes,
        namespace,
        phase: PhantomData,
    };
    Ok((applied, rejected))
}

fn as_rejection(field: &'static str, result: Result<(), ApplyError>) -> Result<Option<RejectedObject>, ApplyError> {
    match result {
        Ok(()) => Ok(None),
        Err(ApplyError::Apply { kind, source: kube::Error::Api(status), .. }) if matches!(status.code, 400 | 422) => {
            Ok(Some(RejectedObject { field, kind, why: status.message.clone() }))
        }
        Err(error) => Err(error),
    }
}

/// The CA before the pods that ask it, and the APIService last, when what it names exists.
async fn apply_relay(
    client: &Client,
    namespace: &str,
    objects: &RelayObjects,
) -> Result<Option<RejectedObject>, ApplyError> {
    let RelayObjects {
        authority: _,
        secret,
        bundle,
        deployment,
        disruption_budget,
        service,
        hubble_service,
        api_service,
        hubble_relay,
    } = objects;
    if let Some(secret) = secret {
        apply_namespaced(client, namespace, secret).await?;
    }
    apply_namespaced(client, namespace, bundle).await?;
    apply_namespaced(client, namespace, service).await?;
    apply_namespaced(client, namespace, hubble_service).await?;
    if let Some(HubbleRelayObjects { secret, peer_service }) = hubble_relay {
        if let Some(secret) = secret {
            apply_namespaced(client, namespace, secret).await?;
        }
        apply_namespaced(client, namespace, peer_service).await?;
    }
    let rejected = as_rejection("spec.relay", apply_namespaced(client, namespace, deployment).await)?;
    if let Some(budget) = disruption_budget {
        apply_namespaced(client, namespace, budget).await?;
    }
    if let Some(api_service) = api_service {
        apply_cluster_scoped(client, api_service).await?;
    }
    Ok(rejected)
}

/// Agents of nodes that are no longer selected unload and clean their disks while their pods still run.
async fn unload_unselected_nodes(client: &Client, garbage: &Garbage) -> Result<(), ApplyError> {
    for name in &garbage.runtimes {
        delete(&Api::<NodeRuntime>::all(client.clone()), name).await?;
    }
    if !garbage.runtimes.is_empty() {
        tokio::time::sleep(UNLOAD_TIME).await;
    }
    Ok(())
}

async fn delete_garbage(client: &Client, namespace: &str, garbage: &Garbage) -> Result<(), ApplyError> {
    // `unload_unselected_nodes` has deleted the NodeRuntimes, and the APIService was the first to go.
    let Garbage { runtimes: _, profiles, parts, service, relay } = garbage;
    let RelayGarbage {
        api_service: _,
        deployment,
        disruption_budget,
        service: relay_service,
        hubble_service,
        peer_service,
        hubble_relay_secret,
    } = relay;
    if *disruption_budget {
        delete(&Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace), RELAY).await?;
    }
    if *deployment {
        delete(&Api::<Deployment>::namespaced(client.clone(), namespace), RELAY).await?;
    }
    if *relay_service {
        delete(&Api::<Service>::namespaced(client.clone(), namespace), RELAY).await?;
    }
    if *hubble_service {
        delete(&Api::<Service>::namespaced(client.clone(), namespace), HUBBLE_RELAY).await?;
    }
    if *peer_service {
        delete(&Api::<Service>::namespaced(client.clone(), namespace), HUBBLE_PEER).await?;
    }
    if *hubble_relay_secret {
        delete(&Api::<Secret>::namespaced(client.clone(), namespace), HUBBLE_RELAY_SECRET).await?;
    }
    if *service {
        delete(&Api::<Service>::namespaced(client.clone(), namespace), DAEMON_SET).await?;
    }
    for name in profiles {
        delete(&Api::<NodeProfile>::all(client.clone()), name).await?;
    }
    for name in parts {
        delete(&Api::<ProfilePart>::all(client.clone()), name).await?;
    }
    Ok(())
}

async fn apply_cluster_scoped<K>(client: &Client, object: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    server_side_apply(&Api::all(client.clone()), object).await
}

async fn apply_namespaced<K>(client: &Client, namespace: &str, object: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    server_side_apply(&Api::namespaced(client.clone(), namespace), object).await
}

async fn server_side_apply<K>(api: &Api<K>, object: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.name_any();
    // Only metadata is returned, so that fields of other managers cannot fail the request.
    match api.patch_metadata(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(ApplyError::Apply { kind: K::kind(&()).into_owned(), name, source }),
    }
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let failed = |source| ApplyError::Delete { kind: K::kind(&()).into_owned(), name: name.into(), source };
    delete_if_present(api, name).await.map_err(failed)
}
