//! `PodWatches`: for each running FlowCapture and AppProfile, a watch on the pods that it selects. Only their labels,
//! node and phase are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{
    Api, Client,
    core::{ApiResource, Object, Selector},
    runtime::{WatchStreamExt as _, watcher},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};
use trilobite_crds::selector::{Labels, NAMESPACE_LABEL};

use super::trigger::Trigger;
use crate::{metrics::Metrics, resource_key::ResourceKey};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecFields {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct StatusFields {
    phase: Option<String>,
}

type PrunedPod = Object<SpecFields, StatusFields>;

/// A pod that has a node and has not terminated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScheduledPod {
    pub(crate) node: String,
    pub(crate) labels: Labels,
}

#[derive(Debug, Default)]
struct PodWatch {
    /// UID of the FlowCapture or AppProfile: a new object of the same name may select other pods.
    uid: String,
    /// None until the initial list has been read.
    pods: Option<BTreeMap<String, ScheduledPod>>,
    _stop_on_drop: Option<DropGuard>,
}

#[derive(Clone)]
pub(crate) struct PodWatches {
    client: Client,
    metrics: Arc<Metrics>,
    watches: Arc<Mutex<BTreeMap<ResourceKey, PodWatch>>>,
    changed: Trigger,
}

impl PodWatches {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics, watches: Arc::default(), changed: Trigger::new() }
    }

    /// Fires when the selected pods of any object changed.
    pub(crate) fn changed(&self) -> &Trigger {
        &self.changed
    }

    /// The pods that the object selects; none while the initial list is being read. Starts the watch if there is none,
    /// and replaces the watch of an older object of the same name.
    pub(crate) fn pods_selected_by(
        &self,
        key: &ResourceKey,
        uid: &str,
        selector: &LabelSelector,
    ) -> Option<BTreeSet<ScheduledPod>> {
        let mut watches = self.watches.lock();
        if let Some(entry) = watches.get(key).filter(|entry| entry.uid == uid) {
            return entry.pods.as_ref().map(|pods| pods.values().cloned().collect());
        }
        let stop = CancellationToken::new();
        let stop_on_drop = Some(stop.clone().drop_guard());
        watches.insert(key.clone(), PodWatch { uid: uid.to_owned(), pods: None, _stop_on_drop: stop_on_drop });
        tokio::spawn(self.clone().follow(key.clone(), uid.to_owned(), selector.clone(), stop));
        None
    }

    /// Stops the watches of all other objects.
    pub(crate) fn retain(&self, keys: &BTreeSet<ResourceKey>) {
        self.watches.lock().retain(|key, _| keys.contains(key));
    }

    pub(crate) fn stop(&self, key: &ResourceKey) {
        self.watches.lock().remove(key);
    }

    async fn follow(self, key: ResourceKey, uid: String, selector: LabelSelector, stop: CancellationToken) {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let config = api_server_selector(&selector)
            .map_or_else(watcher::Config::default, |selector| watcher::Config::default().labels_from(&selector));
        let api: Api<PrunedPod> = Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
        let mut events = watcher(api, config)
            .backoff(trilobite_backoff::watch_backoff())
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
                Ok(event) => self.apply_event(&key, &uid, event, &mut list),
                Err(error) => {
                    self.metrics.record_watch_error("Pod");
                    tracing::warn!(%error, %key, "watching the selected pods failed");
                }
            }
        }
    }

    fn apply_event(
        &self,
        key: &ResourceKey,
        uid: &str,
        event: watcher::Event<PrunedPod>,
        list: &mut BTreeMap<String, ScheduledPod>,
    ) {
        let mut watches = self.watches.lock();
        let Some(entry) = watches.get_mut(key).filter(|entry| entry.uid == uid) else { return };
        match event {
            watcher::Event::Init => return list.clear(),
            watcher::Event::InitApply(pod) => {
                insert_or_remove(list, pod);
                return;
            }
            watcher::Event::InitDone => entry.pods = Some(std::mem::take(list)),
            watcher::Event::Apply(pod) => insert_or_remove(entry.pods.get_or_insert_default(), pod),
            watcher::Event::Delete(pod) => {
                let name = pod.metadata.name.unwrap_or_default();
                entry.pods.get_or_insert_default().remove(&name);
            }
        }
        drop(watches);
        self.changed.fire();
    }
}

fn insert_or_remove(pods: &mut BTreeMap<String, ScheduledPod>, pod: PrunedPod) {
    let name = pod.metadata.name.unwrap_or_default();
    let terminated =
        pod.status.and_then(|status| status.phase).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    match pod.spec.node_name.filter(|_| !terminated) {
        Some(node) => {
            let labels = pod.metadata.labels.unwrap_or_default();
            pods.insert(name, ScheduledPod { node, labels });
        }
        None => {
            pods.remove(&name);
        }
    }
}

/// The selector for the API server; none if it uses `NAMESPACE_LABEL`, which is not a real label of pods.
fn api_server_selector(selector: &LabelSelector) -> Option<Selector> {
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

    fn pod(node: Option<&str>, phase: &str) -> PrunedPod {
        let spec = json!({"nodeName": node, "containers": [{"name": "x"}]});
        serde_json::from_value(json!({
            "metadata": {"name": "till-0", "labels": {"app": "till"}}, "spec": spec, "status": {"phase": phase, "podIP": "10.0.0.1"}
        }))
        .unwrap()
    }

    #[test]
    fn only_running_pods_with_a_node_are_kept() {
        let mut pods = BTreeMap::new();
        insert_or_remove(&mut pods, pod(None, "Pending"));
        assert!(pods.is_empty());
        insert_or_remove(&mut pods, pod(Some("reef-1"), "Running"));
        assert_eq!(pods["till-0"].node, "reef-1");
        insert_or_remove(&mut pods, pod(Some("reef-1"), "Succeeded"));
        assert!(pods.is_empty());
    }

    #[tokio::test]
    async fn a_recreated_object_does_not_get_the_old_ones_pods() {
        let (service, _requests) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let watches = PodWatches::new(Client::new(service, "ink-system"), Arc::new(Metrics::new()));
        let key = ResourceKey { kind: SourceKind::AppProfile, namespace: Some("payments".into()), name: "hot".into() };
        let selector = LabelSelector::default();
        assert_eq!(watches.pods_selected_by(&key, "old", &selector), None);
        let mut list = BTreeMap::new();
        for event in [watcher::Event::InitApply(pod(Some("reef-1"), "Running")), watcher::Event::InitDone] {
            watches.apply_event(&key, "old", event, &mut list);
        }
        assert_eq!(watches.pods_selected_by(&key, "old", &selector).map(|pods| pods.len()), Some(1));
        assert_eq!(watches.pods_selected_by(&key, "new", &selector), None);
        watches.apply_event(&key, "old", watcher::Event::Apply(pod(Some("reef-1"), "Running")), &mut list);
        assert_eq!(watches.pods_selected_by(&key, "new", &selector), None, "events of the old watch are dropped");
    }

    #[test]
    fn a_selector_by_namespace_is_not_sent_to_the_api_server() {
        let labels = BTreeMap::from([(NAMESPACE_LABEL.to_owned(), "payments".to_owned())]);
        let selector = LabelSelector { match_labels: Some(labels), match_expressions: None };
        assert!(api_server_selector(&selector).is_none());
    }
}
