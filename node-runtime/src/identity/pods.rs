//! The watches that tell identity of pods and namespaces: this node's pods, and namespaces' labels while a scope asks for them.

use std::{pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use tokio::task::AbortHandle;

use super::{
    Identity,
    prune::{PodObject, pruned},
    slots::Namespaces,
    watched::Watched,
};

/// Objects that are asked for at a time.
const PAGE: u32 = 200;

/// Follows the cluster for as long as it lives.
pub struct ClusterWatch([AbortHandle; 2]);

impl ClusterWatch {
    /// Begins to follow the pods of `node`, and namespaces when they are needed.
    pub fn begin(client: &Client, node: &str, identity: &Identity) -> Self {
        let pods = tokio::spawn(follow_pods(client.clone(), node.to_owned(), identity.clone()));
        let namespaces = tokio::spawn(follow_namespaces(client.clone(), identity.clone()));
        Self([pods.abort_handle(), namespaces.abort_handle()])
    }
}

impl Drop for ClusterWatch {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn follow_pods(client: Client, node: String, identity: Identity) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods: Api<PodObject> = Api::all_with(client, &resource);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}")).page_size(PAGE);
    let mut events = pin!(watcher(pods, config).backoff(trilobite_patience::of_a_watch()));
    let mut watched = Watched::new();
    let entry = |pod: PodObject| (pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pruned(&pod)));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if let Some(pods) = watched.after(event, entry) {
                    identity.set_pods(pods.values().cloned().collect());
                }
            }
            Err(error) => tracing::warn!(%error, "this node's pods cannot be watched; what is known of them stays"),
        }
    }
}

/// Runs the watch while some selection asks for labels of namespaces.
async fn follow_namespaces(client: Client, identity: Identity) {
    let mut changed = identity.changed();
    loop {
        while !identity.need_namespaces() {
            if changed.changed().await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = watch_namespaces(&client, &identity) => {}
            () = not_needed(&identity) => identity.set_namespaces(Namespaces::new()),
        }
    }
}

async fn not_needed(identity: &Identity) {
    let mut changed = identity.changed();
    while identity.need_namespaces() {
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_namespaces(client: &Client, identity: &Identity) {
    type Namespace = PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watcher(namespaces, config).backoff(trilobite_patience::of_a_watch()));
    let mut watched = Watched::new();
    let entry = |namespace: Namespace| {
        let metadata = namespace.metadata;
        (metadata.name.unwrap_or_default(), metadata.labels.unwrap_or_default())
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if let Some(namespaces) = watched.after(event, entry) {
                    identity.set_namespaces(namespaces.clone());
                }
            }
            Err(error) => tracing::warn!(%error, "namespaces cannot be watched; what is known of them stays"),
        }
    }
}
