//! Deletion of a stack: agents unload and clean their disks, then their pods are deleted, then the finalizer is
//! removed. A user who deletes the stack and waits can uninstall everything else afterwards.

use std::time::Duration;

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment},
        core::v1::Pod,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::{ObjectMeta, PartialObjectMeta},
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use trilobite_crds::{
    ObservabilityStack,
    node::NodeRuntime,
    read_api::{API_SERVICE, RELAY},
};

use super::delete::{delete_if_present, is_not_found};
use crate::labels::{DAEMON_SET, pods_query};

/// Keeps the stack until its agents are gone.
pub(super) const FINALIZER: &str = "trilobite.dev/agents";
/// Time for agents to unload and clean up after their NodeRuntimes are deleted.
pub(super) const UNLOAD_TIME: Duration = Duration::from_secs(2);
/// A stack is released after this even if agents still run: an unreachable node must not block the deletion.
const MAX_WAIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub(crate) enum TeardownError {
    #[error("listing the stacks that are being deleted: {0}")]
    ListStacks(#[source] kube::Error),
    #[error("deleting NodeRuntimes: {0}")]
    DeleteRuntimes(#[source] kube::Error),
    #[error("deleting DaemonSet {DAEMON_SET}: {0}")]
    DeleteDaemonSet(#[source] kube::Error),
    #[error("deleting APIService {API_SERVICE}: {0}")]
    DeleteApiService(#[source] kube::Error),
    #[error("deleting Deployment {RELAY}: {0}")]
    DeleteDeployment(#[source] kube::Error),
    #[error("listing the pods of agents and relay: {0}")]
    ListPods(#[source] kube::Error),
    #[error("removing the finalizer of a stack that cannot be read: {0}")]
    RemoveFinalizer(#[source] kube::Error),
}

/// Tears down the stacks that are being deleted, without a controller: their CRD waits for them, and the controllers for
/// the CRD.
pub(crate) async fn release_deleted_stacks(client: &Client, namespace: &str) -> Result<(), TeardownError> {
    let stacks: Api<PartialObjectMeta<ObservabilityStack>> = Api::all(client.clone());
    let stacks = match stacks.list_metadata(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(TeardownError::ListStacks(error)),
    };
    for stack in stacks.iter().filter(|stack| stack.metadata.deletion_timestamp.is_some()) {
        tear_down_unreadable(client, namespace, &stack.metadata).await?;
    }
    Ok(())
}

/// Tears down a stack that this version cannot deserialize: it must be possible to delete it.
pub(super) async fn tear_down_unreadable(
    client: &Client,
    namespace: &str,
    stack: &ObjectMeta,
) -> Result<(), TeardownError> {
    let finalizers = stack.finalizers.clone().unwrap_or_default();
    if !finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    tear_down(client, namespace).await?;
    let others: Vec<_> = finalizers.into_iter().filter(|name| name != FINALIZER).collect();
    // The resource version makes the patch fail if another client has changed the finalizers meanwhile.
    let meta = json!({"finalizers": others, "resourceVersion": stack.resource_version});
    let patch = Patch::Merge(json!({"metadata": meta}));
    let name = stack.name.as_deref().unwrap_or_default();
    let stacks: Api<ObservabilityStack> = Api::all(client.clone());
    match stacks.patch_metadata(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(TeardownError::RemoveFinalizer(error)),
    }
}

pub(super) async fn tear_down(client: &Client, namespace: &str) -> Result<(), TeardownError> {
    tracing::info!("the stack is being deleted: agents unload, clean up and stop");
    let deadline = Instant::now() + MAX_WAIT;
    remove_relay(client, namespace).await?;
    let runtimes: Api<PartialObjectMeta<NodeRuntime>> = Api::all(client.clone());
    match runtimes.delete_collection(&DeleteParams::default(), &ListParams::default()).await {
        Ok(_) => {}
        // Their CRD is gone already.
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(TeardownError::DeleteRuntimes(error)),
    }
    sleep(UNLOAD_TIME).await;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    delete_if_present(&daemon_sets, DAEMON_SET).await.map_err(TeardownError::DeleteDaemonSet)?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&pods_query());
    while !pods.list_metadata(&ours).await.map_err(TeardownError::ListPods)?.items.is_empty() {
        if Instant::now() >= deadline {
            tracing::warn!(waited = ?MAX_WAIT, "some pods still run; deleting the stack without them");
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// The APIService first: without a relay it delays the deletion of every namespace.
async fn remove_relay(client: &Client, namespace: &str) -> Result<(), TeardownError> {
    unregister(client).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    delete_if_present(&deployments, RELAY).await.map_err(TeardownError::DeleteDeployment)
}

/// Deletes the APIService, if there is one.
pub(crate) async fn unregister(client: &Client) -> Result<(), TeardownError> {
    let api_services: Api<APIService> = Api::all(client.clone());
    delete_if_present(&api_services, API_SERVICE).await.map_err(TeardownError::DeleteApiService)
}
