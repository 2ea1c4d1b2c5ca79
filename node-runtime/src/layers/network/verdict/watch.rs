//! Watches the network policies of every kind that the cluster serves, and the labels of its namespaces.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta, TypeMeta},
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use trilobite_netpol::{Labels, Policy, PolicyKind};

use super::index::PolicyIndex;

/// Objects in one page of a list.
const PAGE: u32 = 200;

/// Until a kind that no version is served of is looked for again.
const NOT_SERVED_PAUSE: Duration = Duration::from_secs(60);

const NETWORKING: &str = "networking.k8s.io";
const POLICY: &str = "policy.networking.k8s.io";

/// Each kind, and its versions: the first that the cluster serves is watched.
const KINDS: [(PolicyKind, &str, &[&str], &str); 4] = [
    (PolicyKind::NetworkPolicy, NETWORKING, &["v1"], "networkpolicies"),
    (PolicyKind::ClusterNetworkPolicy, POLICY, &["v1beta1", "v1alpha2"], "clusternetworkpolicies"),
    (PolicyKind::AdminNetworkPolicy, POLICY, &["v1alpha1"], "adminnetworkpolicies"),
    (PolicyKind::BaselineAdminNetworkPolicy, POLICY, &["v1alpha1"], "baselineadminnetworkpolicies"),
];

/// Its watches end when it is dropped.
pub struct PolicyWatch {
    tasks: Vec<AbortHandle>,
}

impl PolicyWatch {
    /// Fills the index from now on.
    pub fn follow(client: &Client, index: &Arc<Mutex<PolicyIndex>>) -> Self {
        let mut tasks = Vec::new();
        for (kind, group, versions, plural) in KINDS {
            let resources = versions.iter().map(|version| {
                let kind = GroupVersionKind::gvk(group, version, kind.as_str());
                ApiResource::from_gvk_with_plural(&kind, plural)
            });
            let (client, resources, index) = (client.clone(), resources.collect(), Arc::clone(index));
            tasks.push(tokio::spawn(follow_policies(client, kind, resources, index)).abort_handle());
        }
        tasks.push(tokio::spawn(follow_namespaces(client.clone(), Arc::clone(index))).abort_handle());
        Self { tasks }
    }
}

impl Drop for PolicyWatch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A cluster may serve no version of the kind, and be given one later.
async fn follow_policies(
    client: Client,
    kind: PolicyKind,
    resources: Vec<ApiResource>,
    index: Arc<Mutex<PolicyIndex>>,
) {
    loop {
        for resource in &resources {
            let objects: Api<DynamicObject> = Api::all_with(client.clone(), resource);
            let config = watcher::Config::default().page_size(PAGE);
            let mut events = pin!(watcher(objects, config).backoff(trilobite_backoff::watch_backoff()));
            let mut policies = WatchedPolicies { kind, resource, list: Vec::new() };
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => policies.apply(event, &mut index.lock()),
                    Err(error) if is_not_served(&error) => break,
                    Err(error) => {
                        let what = &resource.plural;
                        tracing::warn!(%error, "{what} cannot be watched; the last known ones decide about connections");
                    }
                }
            }
        }
        index.lock().replace_policies(kind, Vec::new());
        tokio::time::sleep(NOT_SERVED_PAUSE).await;
    }
}

async fn follow_namespaces(client: Client, index: Arc<Mutex<PolicyIndex>>) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watcher(namespaces, config).backoff(trilobite_backoff::watch_backoff()));
    let mut list = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => apply_namespace(event, &mut list, &mut index.lock()),
            Err(error) => {
                tracing::warn!(%error, "namespaces cannot be watched; their last known labels decide about connections");
            }
        }
    }
}

/// A list is collected and replaces what is known once it is complete.
struct WatchedPolicies<'a> {
    kind: PolicyKind,
    resource: &'a ApiResource,
    list: Vec<Policy>,
}

impl WatchedPolicies<'_> {
    fn apply(&mut self, event: watcher::Event<DynamicObject>, index: &mut PolicyIndex) {
        match event {
            watcher::Event::Init => self.list.clear(),
            watcher::Event::InitApply(object) => self.list.extend(self.read(object)),
            watcher::Event::InitDone => index.replace_policies(self.kind, std::mem::take(&mut self.list)),
            watcher::Event::Apply(object) => {
                if let Some(policy) = self.read(object) {
                    index.put_policy(policy);
                }
            }
            watcher::Event::Delete(object) => {
                if let Some(policy) = self.read(object) {
                    index.remove_policy(policy.name());
                }
            }
        }
    }

    /// Elements of a list of the API server do not say their kind.
    fn read(&self, mut object: DynamicObject) -> Option<Policy> {
        let (api_version, kind) = (self.resource.api_version.clone(), self.resource.kind.clone());
        object.types = Some(TypeMeta { api_version, kind });
        let policy = serde_json::to_value(&object).map_err(|error| error.to_string());
        let policy = policy.and_then(|object| Policy::from_json(&object).map_err(|error| error.to_string()));
        policy
            .inspect_err(|error| {
                let (kind, name) = (self.kind.as_str(), object.metadata.name.as_deref().unwrap_or_default());
                tracing::warn!(error, "{kind} {name:?} cannot be read");
            })
            .ok()
    }
}

fn apply_namespace(
    event: watcher::Event<PartialObjectMeta<Namespace>>,
    list: &mut HashMap<String, Labels>,
    index: &mut PolicyIndex,
) {
    let named = |object: PartialObjectMeta<Namespace>| {
        let metadata = object.metadata;
        (metadata.name.unwrap_or_default(), metadata.labels.unwrap_or_default())
    };
    match event {
        watcher::Event::Init => list.clear(),
        watcher::Event::InitApply(namespace) => list.extend([named(namespace)]),
        watcher::Event::InitDone => index.replace_namespaces(std::mem::take(list)),
        watcher::Event::Apply(namespace) => {
            let (name, labels) = named(namespace);
            index.put_namespace(&name, labels);
        }
        watcher::Event::Delete(namespace) => index.remove_namespace(&named(namespace).0),
    }
}

/// The cluster does not have the kind in this version.
fn is_not_served(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trilobite_netpol::{Protocol, Verdict};
    use watcher::Event;

    use super::*;
    use crate::layers::network::verdict::index::{AskedConnection, ConnectionEndId, PolicyPod};

    fn resource() -> ApiResource {
        let kind = GroupVersionKind::gvk(NETWORKING, "v1", "NetworkPolicy");
        ApiResource::from_gvk_with_plural(&kind, "networkpolicies")
    }

    /// As in a list: without a kind.
    fn policy(name: &str) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"podSelector": {}}}))
            .unwrap()
    }

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn isolating(index: &mut PolicyIndex) -> Option<Vec<String>> {
        let (client, server) = (ConnectionEndId::External, ConnectionEndId::Pod("u1"));
        let (client_ip, server_ip) = ([203, 0, 113, 7].into(), [10, 0, 0, 1].into());
        let asked = AskedConnection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port: 80 };
        let decision = index.decide(&asked)?;
        assert_eq!(decision.ingress.verdict == Verdict::Denied, !decision.ingress.isolated_by.is_empty());
        Some(decision.ingress.isolated_by.iter().map(|policy| policy.name.to_string()).collect())
    }

    #[test]
    fn lists_replace_what_is_known_when_they_are_complete() {
        let resource = resource();
        let mut watched = WatchedPolicies { kind: PolicyKind::NetworkPolicy, resource: &resource, list: Vec::new() };
        let mut index = PolicyIndex::default();
        for kind in KINDS.map(|(kind, ..)| kind) {
            index.replace_policies(kind, Vec::new());
        }
        index.put_pod(PolicyPod { uid: "u1".into(), namespace: "shop".into(), ..PolicyPod::default() });
        let mut list = HashMap::new();
        assert_eq!(isolating(&mut index), None);
        apply_namespace(Event::InitApply(namespace("shop")), &mut list, &mut index);
        assert_eq!(isolating(&mut index), None);
        apply_namespace(Event::InitDone, &mut list, &mut index);
        let mut on = |event| {
            watched.apply(event, &mut index);
            isolating(&mut index).unwrap()
        };
        assert_eq!(on(Event::Apply(policy("a"))), ["a"]);
        assert_eq!(on(Event::Init), ["a"]);
        assert_eq!(on(Event::InitApply(policy("b"))), ["a"]);
        assert_eq!(on(Event::InitDone), ["b"]);
        assert_eq!(on(Event::Apply(policy("c"))), ["b", "c"]);
        assert!(on(Event::Delete(policy("b"))) == ["c"] && on(Event::Delete(policy("c"))).is_empty());
        apply_namespace(Event::Delete(namespace("shop")), &mut list, &mut index);
        assert_eq!(isolating(&mut index), None);
    }

    #[test]
    fn only_a_kind_that_is_not_there_is_not_served() {
        let failed = |code| {
            let status = kube::core::Status::failure("no", "No").with_code(code);
            is_not_served(&watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())))
        };
        assert_eq!([403, 404, 500].map(failed), [false, true, false]);
    }
}
