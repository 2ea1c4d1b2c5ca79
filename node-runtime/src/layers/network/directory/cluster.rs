//! The directory of a cluster: a watch on all pods and Services, keeping only the fields that matter.

use std::{collections::BTreeMap, net::IpAddr, pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, Object},
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;
use tokio::task::AbortHandle;

use super::{Directory, DirectoryTable, NodePod};
use crate::{
    identity::{Lenient, Pod, warn_unreadable, workload_of},
    layers::network::endpoint::{ConnectionEnd, Endpoint, Service},
};

/// Objects in one page of a list, so that a large cluster's list is never in memory as a whole.
const PAGE: u32 = 200;

/// Its watches end when it is dropped.
pub struct ClusterDirectory {
    table: Arc<DirectoryTable>,
    tasks: [AbortHandle; 2],
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
    #[serde(rename = "hostIPs")]
    host_ips: Vec<Address>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    selector: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    /// An entry may have a host name and no address.
    ingress: Vec<Address>,
}

type PodObject = Object<Lenient<PodSpec>, Lenient<PodStatus>>;
type ServiceObject = Object<Lenient<ServiceSpec>, Lenient<ServiceStatus>>;

impl ClusterDirectory {
    /// Starts the watches; `here` is this node's name.
    pub fn follow(client: &Client, here: &str) -> Self {
        let table = Arc::new(DirectoryTable::default());
        let pods = tokio::spawn(follow_pods(client.clone(), here.to_owned(), table.clone()));
        let services = tokio::spawn(follow_services(client.clone(), table.clone()));
        Self { table, tasks: [pods.abort_handle(), services.abort_handle()] }
    }
}

impl Drop for ClusterDirectory {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Directory for ClusterDirectory {
    fn owner(&self, address: IpAddr) -> ConnectionEnd {
        self.table.owner(address)
    }
}

async fn follow_pods(client: Client, here: String, table: Arc<DirectoryTable>) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods: Api<PodObject> = Api::all_with(client, &resource);
    let mut events =
        pin!(watcher(pods, watcher::Config::default().page_size(PAGE)).backoff(trilobite_backoff::watch_backoff()));
    let mut fresh = DirectoryTable::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => on_pod(event, &here, &table, &mut fresh),
            Err(error) => {
                tracing::warn!(%error, "pods of other nodes cannot be watched; their flows show addresses alone")
            }
        }
    }
}

async fn follow_services(client: Client, table: Arc<DirectoryTable>) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
    let services: Api<ServiceObject> = Api::all_with(client, &resource);
    let mut events =
        pin!(watcher(services, watcher::Config::default().page_size(PAGE)).backoff(trilobite_backoff::watch_backoff()));
    let mut fresh = DirectoryTable::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => on_service(event, &table, &mut fresh),
            Err(error) => tracing::warn!(%error, "Services cannot be watched; flows to them show addresses alone"),
        }
    }
}

/// A list is collected in `fresh` and replaces the table once it is complete, however often it has to be restarted; until then
/// the old entries are answered.
fn on_pod(event: watcher::Event<PodObject>, here: &str, table: &DirectoryTable, fresh: &mut DirectoryTable) {
    let put = |pod: PodObject, table: &DirectoryTable| {
        warn_unreadable(&pod);
        match pruned(&pod) {
            Some(pod) => table.put_pod(&pod, here),
            None => table.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default()),
        }
    };
    match event {
        watcher::Event::Init => *fresh = DirectoryTable::default(),
        watcher::Event::InitApply(pod) => put(pod, fresh),
        watcher::Event::InitDone => table.replace_pods(std::mem::take(fresh)),
        watcher::Event::Apply(pod) => put(pod, table),
        watcher::Event::Delete(pod) => table.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default()),
    }
}

/// As `on_pod`, for Services.
fn on_service(event: watcher::Event<ServiceObject>, table: &DirectoryTable, fresh: &mut DirectoryTable) {
    let put = |service: ServiceObject, table: &DirectoryTable| {
        warn_unreadable(&service);
        table.put_service(named(&service), &addresses(service.spec.cluster_ips.iter()), &outer_addresses(&service));
    };
    match event {
        watcher::Event::Init => *fresh = DirectoryTable::default(),
        watcher::Event::InitApply(service) => put(service, fresh),
        watcher::Event::InitDone => table.replace_services(std::mem::take(fresh)),
        watcher::Event::Apply(service) => put(service, table),
        watcher::Event::Delete(service) => table.put_service(named(&service), &[], &[]),
    }
}

/// The fields of a pod that are kept; none once it has ended and its addresses are free.
fn pruned(object: &PodObject) -> Option<NodePod> {
    let status = object.status.clone().unwrap_or_default();
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    let metadata = &object.metadata;
    let labels = metadata.labels.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let (workload, workload_kind) = workload_of(metadata);
    let pod = Pod {
        uid: metadata.uid.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name,
        labels,
        workload,
        workload_kind,
        ips: addresses(status.pod_ips.iter().map(|address| &address.ip)),
        node: object.spec.node_name.clone(),
        host_network: object.spec.host_network,
        ..Pod::default()
    };
    Some(NodePod { pod, node_ips: addresses(status.host_ips.iter().map(|address| &address.ip)) })
}

fn named(service: &ServiceObject) -> Service {
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    let selector = service.spec.selector.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Service { endpoint: Arc::new(Endpoint::service(&namespace, &name, selector)), name, namespace }
}

/// Where a Service is reached from outside the cluster; those addresses work inside, too.
fn outer_addresses(service: &ServiceObject) -> Vec<IpAddr> {
    let ingress = service.status.iter().flat_map(|status| &status.load_balancer.ingress);
    addresses(service.spec.external_ips.iter().chain(ingress.map(|address| &address.ip)))
}

/// Skips `None`, which a headless Service has in place of an address.
fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(phase: &str) -> PodObject {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "cart-5d9f-x2", "namespace": "shop", "uid": "u1", "labels": {"app": "cart", "pod-template-hash": "5d9f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-5d9f", "uid": "r", "controller": true}],
            },
            "spec": {"nodeName": "n2", "containers": [{"name": "main", "image": "cart"}]},
            "status": {"phase": phase, "podIPs": [{"ip": "10.2.0.9"}, {"ip": "fd00:2::9"}], "hostIPs": [{"ip": "192.0.2.2"}]},
        }))
        .unwrap()
    }

    #[test]
    fn pod_of_a_deployment_shows_the_deployment() {
        let NodePod { pod, node_ips } = pruned(&object("Running")).unwrap();
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart", "Deployment"));
        assert_eq!((pod.ips.len(), node_ips.len(), pod.node.as_str()), (2, 1, "n2"));
    }

    #[test]
    fn pod_that_has_ended_gives_up_its_address() {
        assert!(pruned(&object("Succeeded")).is_none());
    }

    #[test]
    fn static_pod_is_its_own_workload() {
        let mut mirror = object("Running");
        let owners = mirror.metadata.owner_references.as_mut().unwrap();
        (owners[0].kind, owners[0].name) = ("Node".into(), "n2".into());
        let pod = pruned(&mirror).unwrap().pod;
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart-5d9f-x2", "Pod"));
    }

    #[test]
    fn restarted_list_replaces_the_table_when_complete() {
        use watcher::Event;
        let (table, mut fresh) = (DirectoryTable::default(), DirectoryTable::default());
        let address = "10.2.0.9".parse().unwrap();
        let mut on = |event| {
            on_pod(event, "n1", &table, &mut fresh);
            table.owner(address).endpoint.map(|endpoint| endpoint.pod.clone())
        };
        let cart = || Some("cart-5d9f-x2".to_owned());
        assert_eq!(on(Event::Init), None);
        assert_eq!(on(Event::InitApply(object("Running"))), None);
        assert_eq!(on(Event::InitDone), cart());
        for event in [Event::Init, Event::Init, Event::InitApply(object("Succeeded"))] {
            assert_eq!(on(event), cart());
        }
        assert_eq!(on(Event::InitDone), None);
    }

    #[test]
    fn service_has_its_external_addresses_unless_they_are_a_nodes() {
        let service: ServiceObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"clusterIPs": ["10.96.0.5"], "externalIPs": ["203.0.113.7", "192.0.2.2"], "selector": {"app": "cart"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}, {"hostname": "cart.example.com"}]}},
        }))
        .unwrap();
        let table = DirectoryTable::default();
        on_pod(watcher::Event::Apply(object("Running")), "n1", &table, &mut DirectoryTable::default());
        let fresh = &mut DirectoryTable::default();
        let answers = |table: &DirectoryTable| {
            let has_service = |text: &str| table.owner(text.parse().unwrap()).service.is_some();
            ["10.96.0.5", "203.0.113.7", "203.0.113.8", "192.0.2.2"].map(has_service)
        };
        on_service(watcher::Event::Apply(service.clone()), &table, fresh);
        assert_eq!(answers(&table), [true, true, true, false]);
        on_service(watcher::Event::Delete(service), &table, fresh);
        assert_eq!(answers(&table), [false; 4]);
    }

    #[test]
    fn null_fields_hide_neither_pod_nor_service() {
        let metadata = serde_json::json!({"name": "cart", "namespace": "shop", "uid": "u1"});
        let pod = serde_json::json!({
            "metadata": metadata, "spec": {"nodeName": "n2", "hostNetwork": null},
            "status": {"phase": "Running", "podIPs": [{"ip": null}, {"ip": "10.2.0.9"}], "hostIPs": null},
        });
        let pod: PodObject = serde_json::from_value(pod).unwrap();
        assert_eq!(pruned(&pod).unwrap().pod.ips.len(), 1);
        let service =
            serde_json::json!({"metadata": metadata, "spec": {"clusterIPs": null, "selector": null}, "status": null});
        let service: ServiceObject = serde_json::from_value(service).unwrap();
        assert_eq!((named(&service).name.as_str(), service.spec.cluster_ips.len()), ("cart", 0));
    }

    #[test]
    fn headless_service_has_no_address() {
        assert_eq!(
            addresses(["None".to_owned(), "10.96.0.5".to_owned()].iter()),
            vec!["10.96.0.5".parse::<IpAddr>().unwrap()]
        );
    }
}
