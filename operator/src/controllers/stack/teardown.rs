//! The end of a stack: agents are told to unload and to clean their disk, then they go. The stack itself goes last, so that
//! whoever deletes it and waits may then uninstall everything else.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::{ObjectMeta, PartialObjectMeta},
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use trilobite_crds::{ObservabilityStack, node::NodeRuntime};

use crate::children;

/// What holds the stack until its agents are gone.
pub(super) const FINALIZER: &str = "trilobite.dev/agents";
/// How long agents have to unload and to clean up, once their NodeRuntimes are gone.
pub(super) const UNLOADING: Duration = Duration::from_secs(2);
/// After this the stack goes, whatever the agents do: a node that is away must not hold it.
const LONGEST: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);

/// What was being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("deleting NodeRuntimes: {0}")]
    DeleteRuntimes(#[source] kube::Error),
    #[error("deleting the DaemonSet: {0}")]
    DeleteDaemonSet(#[source] kube::Error),
    #[error("listing the agents' pods: {0}")]
    ListPods(#[source] kube::Error),
    #[error("releasing a stack that cannot be read: {0}")]
    Release(#[source] kube::Error),
}

/// The same for a stack that this version cannot read: it must be possible to delete it.
pub(super) async fn unreadable(client: &Client, namespace: &str, stack: &ObjectMeta) -> Result<(), Error> {
    let finalizers = stack.finalizers.clone().unwrap_or_default();
    if !finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    run(client, namespace).await?;
    let others: Vec<_> = finalizers.into_iter().filter(|name| name != FINALIZER).collect();
    // With the version that was read, so that nobody else's finalizer is taken along.
    let meta = json!({"finalizers": others, "resourceVersion": stack.resource_version});
    let patch = Patch::Merge(json!({"metadata": meta}));
    let name = stack.name.as_deref().unwrap_or_default();
    let stacks: Api<ObservabilityStack> = Api::all(client.clone());
    match stacks.patch_metadata(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(Error::Release(error)),
    }
}

pub(super) async fn run(client: &Client, namespace: &str) -> Result<(), Error> {
    tracing::info!("the stack is being deleted: agents unload, clean up and go");
    let deadline = Instant::now() + LONGEST;
    let runtimes: Api<PartialObjectMeta<NodeRuntime>> = Api::all(client.clone());
    runtimes
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .map_err(Error::DeleteRuntimes)?;
    sleep(UNLOADING).await;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    match daemon_sets.delete(children::DAEMON_SET, &DeleteParams::background()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(Error::DeleteDaemonSet(error)),
    }
    let labels: Vec<String> = children::selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let agents = ListParams::default().labels(&labels.join(","));
    while !pods.list_metadata(&agents).await.map_err(Error::ListPods)?.items.is_empty() {
        if Instant::now() >= deadline {
            tracing::warn!("some agents are still there; the stack goes without waiting any longer");
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
