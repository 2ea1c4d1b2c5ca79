//! The watches that tell identity of pods and namespaces: this node's pods, and namespaces' labels while a scope asks for them.

use std::{pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::watch, task::AbortHandle};

use super::{
    Identity,
    prune::{PodObject, pruned},
    readable::say_unread,
    slots::Namespaces,
    trouble::Trouble,
    watched::Watched,
};
use crate::report::Problem;

/// Objects that are asked for at a time.
const PAGE: u32 = 200;

/// Follows the cluster for as long as it lives.
pub struct ClusterWatch {
    tasks: [AbortHandle; 2],
    /// What is wrong with the watch of this node's pods.
    pub pods_trouble: watch::Receiver<Option<Problem>>,
    /// And with that of namespaces.
    pub namespaces_trouble: watch::Receiver<Option<Problem>>,
}

impl ClusterWatch {
    /// Begins to follow the pods of `node`, and namespaces when they are needed.
    pub fn begin(client: &Client, node: &str, identity: &Identity) -> Self {
        let (of_pods, of_namespaces) = (Trouble::of("this node's pods"), Trouble::of("namespaces"));
        let (pods_trouble, namespaces_trouble) = (of_pods.heard(), of_namespaces.heard());
        let pods = tokio::spawn(follow_pods(client.clone(), node.to_owned(), identity.clone(), of_pods));
        let namespaces = tokio::spawn(follow_namespaces(client.clone(), identity.clone(), of_namespaces));
        Self { tasks: [pods.abort_handle(), namespaces.abort_handle()], pods_trouble, namespaces_trouble }
    }
}

impl Drop for ClusterWatch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn follow_pods(client: Client, node: String, identity: Identity, mut trouble: Trouble) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods: Api<PodObject> = Api::all_with(client, &resource);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}")).page_size(PAGE);
    let mut events = pin!(watcher(pods, config).backoff(trilobite_patience::of_a_watch()));
    let mut watched = Watched::new();
    let entry = |pod: PodObject| {
        say_unread(&pod);
        (pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pruned(&pod)))
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                trouble.heard_of(&event);
                if let Some(pods) = watched.after(event, entry) {
                    identity.set_pods(pods.values().cloned().collect());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "this node's pods cannot be watched; what is known of them stays");
                trouble.failed(&error);
            }
        }
    }
}

/// Runs the watch while some selection asks for labels of namespaces.
async fn follow_namespaces(client: Client, identity: Identity, mut trouble: Trouble) {
    let mut changed = identity.changed();
    loop {
        while !identity.need_namespaces() {
            if changed.changed().await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = watch_namespaces(&client, &identity, &mut trouble) => {}
            () = not_needed(&identity) => identity.set_namespaces(Namespaces::new()),
        }
        trouble.is_over();
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

async fn watch_namespaces(client: &Client, identity: &Identity, trouble: &mut Trouble) {
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
                trouble.heard_of(&event);
                if let Some(namespaces) = watched.after(event, entry) {
                    identity.set_namespaces(namespaces.clone());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "namespaces cannot be watched; what is known of them stays");
                trouble.failed(&error);
            }
        }
    }
}
