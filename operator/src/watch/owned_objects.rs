//! Watches on the metadata of the objects that a stack owns: one that is deleted or edited by hand is applied again at
//! once. DaemonSet and NodeRuntimes, whose status is read too, have watches of their own.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
        policy::v1::PodDisruptionBudget,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use trilobite_crds::node::{NodeProfile, ProfilePart};

use super::registry::watch_objects;
use crate::{
    labels::{MANAGED_BY, MANAGER},
    metrics::Metrics,
};

/// One item for each change of a ConfigMap, Service, Deployment, PodDisruptionBudget, APIService, NodeProfile or ProfilePart that
/// has the operator's label.
pub(crate) fn owned_object_changes(
    client: &Client,
    namespace: &str,
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = ()> + Send + 'static {
    let config_maps: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(client.clone(), namespace);
    let services: Api<PartialObjectMeta<Service>> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client.clone(), namespace);
    let budgets: Api<PartialObjectMeta<PodDisruptionBudget>> = Api::namespaced(client.clone(), namespace);
    let api_services: Api<PartialObjectMeta<APIService>> = Api::all(client.clone());
    let profiles: Api<PartialObjectMeta<NodeProfile>> = Api::all(client.clone());
    let parts: Api<PartialObjectMeta<ProfilePart>> = Api::all(client.clone());
    futures::stream::select_all([
        watch_labelled(config_maps, "ConfigMap", metrics),
        watch_labelled(services, "Service", metrics),
        // Every change of their status is an event too: replicas that become available, a relay that cannot be reached.
        watch_labelled(deployments, "Deployment", metrics),
        watch_labelled(budgets, "PodDisruptionBudget", metrics),
        watch_labelled(api_services, "APIService", metrics),
        watch_labelled(profiles, "NodeProfile", metrics),
        watch_labelled(parts, "ProfilePart", metrics),
    ])
}

fn watch_labelled<K>(api: Api<K>, kind: &'static str, metrics: &Arc<Metrics>) -> BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let labelled = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    changes(watch_objects(api, labelled), kind, metrics.clone()).boxed()
}

/// An error is counted and not passed on: it would delay all other triggers of the controller.
fn changes<K: Send + 'static>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    kind: &'static str,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = ()> + Send + 'static {
    events.filter_map(move |event| {
        std::future::ready(match event {
            // The end of a list counts: an object may have been deleted while the watch was down.
            Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => Some(()),
            Ok(Event::Init | Event::InitApply(_)) => None,
            Err(error) => {
                metrics.record_watch_error(kind);
                tracing::warn!(%error, kind, "a watch failed and will be restarted");
                None
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn edits_deletions_and_new_lists_are_changes() {
        let object = ConfigMap::default;
        let events = [
            Ok(Event::Init),
            Ok(Event::InitApply(object())),
            Ok(Event::InitDone),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Apply(object())),
            Ok(Event::Delete(object())),
        ];
        let changes = changes(futures::stream::iter(events), "ConfigMap", Arc::new(Metrics::new()));
        assert_eq!(changes.count().await, 3);
    }
}
