//! The watches that tell identity of pods and namespaces: this node's pods, and namespaces' labels while a scope asks for them.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use tokio::task::AbortHandle;

use super::{
    Identity, Pod,
    prune::{PodObject, pruned},
    slots::Namespaces,
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
    let mut events = pin!(watcher(pods, config).default_backoff());
    let mut known: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = BTreeMap::new(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.insert(uid(&pod), Arc::new(pruned(&pod)));
                continue;
            }
            // Only now: a list that is under way again must not make pods unknown.
            Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(pod)) => {
                let pod_now = Arc::new(pruned(&pod));
                if known.insert(uid(&pod), pod_now.clone()).is_some_and(|before| before == pod_now) {
                    continue;
                }
            }
            Ok(watcher::Event::Delete(pod)) => drop(known.remove(&uid(&pod))),
            Err(error) => {
                tracing::warn!(%error, "this node's pods cannot be watched; what is known of them stays");
                continue;
            }
        }
        identity.set_pods(known.values().cloned().collect());
    }
}

fn uid(pod: &PodObject) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
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
    let mut events = pin!(watcher(namespaces, config).default_backoff());
    let mut known = Namespaces::new();
    let mut listed = Namespaces::new();
    let entry = |namespace: Namespace| {
        let metadata = namespace.metadata;
        (metadata.name.unwrap_or_default(), metadata.labels.unwrap_or_default())
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(namespace)) => {
                listed.extend([entry(namespace)]);
                continue;
            }
            Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(namespace)) => known.extend([entry(namespace)]),
            Ok(watcher::Event::Delete(namespace)) => drop(known.remove(&entry(namespace).0)),
            Err(error) => {
                tracing::warn!(%error, "namespaces cannot be watched; what is known of them stays");
                continue;
            }
        }
        identity.set_namespaces(known.clone());
    }
}
