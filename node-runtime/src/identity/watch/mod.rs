//! Watches the pods of this node, and the labels of namespaces while a selection needs them.

mod watch_health;
mod watched_objects;

use std::{pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::watch, task::AbortHandle};

use self::{watch_health::WatchHealth, watched_objects::WatchedObjects};
use super::{
    pod::{PodObject, pod_from_object, warn_unreadable},
    selection::Namespaces,
    service::IdentityService,
};
use crate::problem::Problem;

/// Objects per page of a list.
const PAGE: u32 = 200;

/// Runs the watches until it is dropped.
pub struct ClusterWatch {
    tasks: [AbortHandle; 2],
    /// The problem of the watch of pods, while it has one.
    pub pods_problem: watch::Receiver<Option<Problem>>,
    /// The problem of the watch of namespaces, while it has one.
    pub namespaces_problem: watch::Receiver<Option<Problem>>,
}

impl ClusterWatch {
    /// Watches the pods of `node`, and namespaces while they are needed.
    pub fn start(client: &Client, node: &str, identity: &IdentityService) -> Self {
        let (pods_health, namespaces_health) = (WatchHealth::new("this node's pods"), WatchHealth::new("namespaces"));
        let (pods_problem, namespaces_problem) = (pods_health.subscribe(), namespaces_health.subscribe());
        let pods = tokio::spawn(watch_pods(client.clone(), node.to_owned(), identity.clone(), pods_health));
        let namespaces = tokio::spawn(watch_needed_namespaces(client.clone(), identity.clone(), namespaces_health));
        Self { tasks: [pods.abort_handle(), namespaces.abort_handle()], pods_problem, namespaces_problem }
    }
}

impl Drop for ClusterWatch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn watch_pods(client: Client, node: String, identity: IdentityService, mut health: WatchHealth) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods: Api<PodObject> = Api::all_with(client, &resource);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}")).page_size(PAGE);
    let mut events = pin!(watcher(pods, config).backoff(trilobite_backoff::watch_backoff()));
    let mut watched = WatchedObjects::new();
    let entry = |pod: PodObject| {
        warn_unreadable(&pod);
        (pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pod_from_object(&pod)))
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                health.record_event(&event);
                if let Some(pods) = watched.apply(event, entry) {
                    identity.set_pods(pods.values().cloned().collect());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the pods of this node cannot be watched; the last known ones stay");
                health.record_failure(&error);
            }
        }
    }
}

/// Watches namespaces while some selection needs their labels.
async fn watch_needed_namespaces(client: Client, identity: IdentityService, mut health: WatchHealth) {
    let mut changed = identity.changed();
    loop {
        while !identity.needs_namespaces() {
            if changed.changed().await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = watch_namespaces(&client, &identity, &mut health) => {}
            () = until_namespaces_not_needed(&identity) => identity.set_namespaces(Namespaces::new()),
        }
        health.clear();
    }
}

async fn until_namespaces_not_needed(identity: &IdentityService) {
    let mut changed = identity.changed();
    while identity.needs_namespaces() {
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_namespaces(client: &Client, identity: &IdentityService, health: &mut WatchHealth) {
    type Namespace = PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watcher(namespaces, config).backoff(trilobite_backoff::watch_backoff()));
    let mut watched = WatchedObjects::new();
    let entry = |namespace: Namespace| {
        let metadata = namespace.metadata;
        (metadata.name.unwrap_or_default(), metadata.labels.unwrap_or_default())
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                health.record_event(&event);
                if let Some(namespaces) = watched.apply(event, entry) {
                    identity.set_namespaces(namespaces.clone());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "namespaces cannot be watched; the last known ones stay");
                health.record_failure(&error);
            }
        }
    }
}
