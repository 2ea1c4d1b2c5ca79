//! For each FlowCapture and AppProfile that runs: a watch on the pods that it selects, and on nothing else of them than
//! labels, node and phase. It ends with the object's work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{
    Api, Client,
    core::{ApiResource, Object, Selector},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};
use trilobite_crds::selector::{Labels, NAMESPACE_LABEL};

use super::Changes;
use crate::{metrics::Metrics, status::Key};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Phase {
    phase: Option<String>,
}

type SmallPod = Object<Placed, Phase>;

/// A pod that has a node and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlacedPod {
    pub(crate) node: String,
    pub(crate) labels: Labels,
}

#[derive(Debug, Default)]
struct Watched {
    /// Of the object that selects them: another one of the same name may select others.
    uid: String,
    /// None until the first list has been read.
    pods: Option<BTreeMap<String, PlacedPod>>,
    _until: Option<DropGuard>,
}

/// The watches that run.
#[derive(Clone)]
pub(crate) struct PodWatches {
    client: Client,
    metrics: Arc<Metrics>,
    watched: Arc<Mutex<BTreeMap<Key, Watched>>>,
    changes: Changes,
}

impl PodWatches {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics, watched: Arc::default(), changes: Changes::new() }
    }

    /// Rings when the pods of some object changed.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The pods that the object `key` with this uid selects; none while the first list is being read. Starts the watch if
    /// there is none, and ends that of an object of the same name that is gone.
    pub(crate) fn of(&self, key: &Key, uid: &str, selector: &LabelSelector) -> Option<BTreeSet<PlacedPod>> {
        let mut watched = self.lock();
        if let Some(entry) = watched.get(key).filter(|entry| entry.uid == uid) {
            return entry.pods.as_ref().map(|pods| pods.values().cloned().collect());
        }
        let stop = CancellationToken::new();
        let until = Some(stop.clone().drop_guard());
        watched.insert(key.clone(), Watched { uid: uid.to_owned(), pods: None, _until: until });
        tokio::spawn(self.clone().follow(key.clone(), uid.to_owned(), selector.clone(), stop));
        None
    }

    /// Ends the watches of all other objects.
    pub(crate) fn keep_only(&self, keys: &BTreeSet<Key>) {
        self.lock().retain(|key, _| keys.contains(key));
    }

    /// Ends the watch of one object.
    pub(crate) fn end(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(self, key: Key, uid: String, selector: LabelSelector, stop: CancellationToken) {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let config = server_side(&selector)
            .map_or_else(watcher::Config::default, |selector| watcher::Config::default().labels_from(&selector));
        let api: Api<SmallPod> = Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
        let mut events = watcher(api, config)
            .backoff(trilobite_patience::of_a_watch())
            .modify(|pod| {
                pod.metadata.managed_fields = None;
                pod.metadata.annotations = None;
            })
            .into_stream()
            .take_until(stop.clone().cancelled_owned())
            .boxed();
        let mut list = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(&key, &uid, event, &mut list),
                Err(error) => {
                    self.metrics.watch_failed("Pod");
                    tracing::warn!(%error, %key, "watching the pods that it selects");
                }
            }
        }
    }

    fn take(&self, key: &Key, uid: &str, event: watcher::Event<SmallPod>, list: &mut BTreeMap<String, PlacedPod>) {
        let mut all = self.lock();
        let Some(entry) = all.get_mut(key).filter(|entry| entry.uid == uid) else { return };
        match event {
            watcher::Event::Init => return list.clear(),
            watcher::Event::InitApply(pod) => {
                put(list, pod);
                return;
            }
            watcher::Event::InitDone => entry.pods = Some(std::mem::take(list)),
            watcher::Event::Apply(pod) => put(entry.pods.get_or_insert_default(), pod),
            watcher::Event::Delete(pod) => {
                let name = pod.metadata.name.unwrap_or_default();
                entry.pods.get_or_insert_default().remove(&name);
            }
        }
        drop(all);
        self.changes.ring();
    }
}

fn put(pods: &mut BTreeMap<String, PlacedPod>, pod: SmallPod) {
    let name = pod.metadata.name.unwrap_or_default();
    let ended =
        pod.status.and_then(|status| status.phase).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    match pod.spec.node_name.filter(|_| !ended) {
        Some(node) => {
            let labels = pod.metadata.labels.unwrap_or_default();
            pods.insert(name, PlacedPod { node, labels });
        }
        None => {
            pods.remove(&name);
        }
    }
}

/// What the API server can select by; the key for the namespace is no label there.
fn server_side(selector: &LabelSelector) -> Option<Selector> {
    let in_labels = selector.match_labels.iter().flatten().any(|(key, _)| key == NAMESPACE_LABEL);
    let in_expressions = selector.match_expressions.iter().flatten().any(|one| one.key == NAMESPACE_LABEL);
    if in_labels || in_expressions {
        return None;
    }
    selector.clone().try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trilobite_crds::node::SourceKind;

    use super::*;

    fn pod(node: Option<&str>, phase: &str) -> SmallPod {
        let spec = json!({"nodeName": node, "containers": [{"name": "x"}]});
        serde_json::from_value(json!({
            "metadata": {"name": "till-0", "labels": {"app": "till"}}, "spec": spec, "status": {"phase": phase, "podIP": "10.0.0.1"}
        }))
        .unwrap()
    }

    #[test]
    fn only_a_pod_with_a_node_that_has_not_ended_is_kept() {
        let mut pods = BTreeMap::new();
        put(&mut pods, pod(None, "Pending"));
        assert!(pods.is_empty());
        put(&mut pods, pod(Some("reef-1"), "Running"));
        assert_eq!(pods["till-0"].node, "reef-1");
        put(&mut pods, pod(Some("reef-1"), "Succeeded"));
        assert!(pods.is_empty());
    }

    #[tokio::test]
    async fn an_object_that_was_made_anew_is_not_answered_with_what_the_old_one_selected() {
        let (service, _requests) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let watches = PodWatches::new(Client::new(service, "ink-system"), Arc::new(Metrics::new()));
        let key = Key { kind: SourceKind::AppProfile, namespace: Some("payments".into()), name: "hot".into() };
        let selector = LabelSelector::default();
        assert_eq!(watches.of(&key, "old", &selector), None);
        let mut list = BTreeMap::new();
        for event in [watcher::Event::InitApply(pod(Some("reef-1"), "Running")), watcher::Event::InitDone] {
            watches.take(&key, "old", event, &mut list);
        }
        assert_eq!(watches.of(&key, "old", &selector).map(|pods| pods.len()), Some(1));
        assert_eq!(watches.of(&key, "new", &selector), None);
        watches.take(&key, "old", watcher::Event::Apply(pod(Some("reef-1"), "Running")), &mut list);
        assert_eq!(watches.of(&key, "new", &selector), None, "nor with what its watch says last");
    }

    #[test]
    fn a_selector_that_names_the_namespace_as_a_label_is_not_sent_to_the_api_server() {
        let labels = BTreeMap::from([(NAMESPACE_LABEL.to_owned(), "payments".to_owned())]);
        let selector = LabelSelector { match_labels: Some(labels), match_expressions: None };
        assert!(server_side(&selector).is_none());
    }
}
