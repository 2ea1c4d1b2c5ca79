//! The directory of a cluster: a watch on all pods and Services, of each only the fields that matter. It lives as long as
//! the value does.

use std::{collections::BTreeMap, net::IpAddr, pin::pin, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, Object},
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;
use tokio::task::AbortHandle;

use super::{Directory, NodePod, Table};
use crate::{
    identity::{Pod, Readable, owner_of, say_unread},
    layers::network::end::{End, Service},
};

/// Objects that are asked for at a time, so that a large cluster's list is never in memory whole.
const PAGE: u32 = 200;

/// Follows the cluster for as long as it lives.
pub struct Cluster {
    table: Arc<Table>,
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
    /// Some have a name in place of an address.
    ingress: Vec<Address>,
}

type PodObject = Object<Readable<PodSpec>, Readable<PodStatus>>;
type ServiceObject = Object<Readable<ServiceSpec>, Readable<ServiceStatus>>;

impl Cluster {
    /// Begins to follow; `here` is this node's name.
    pub fn follow(client: &Client, here: &str) -> Self {
        let table = Arc::new(Table::default());
        let pods = tokio::spawn(follow_pods(client.clone(), here.to_owned(), table.clone()));
        let services = tokio::spawn(follow_services(client.clone(), table.clone()));
        Self { table, tasks: [pods.abort_handle(), services.abort_handle()] }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Directory for Cluster {
    fn end(&self, address: IpAddr) -> Option<Arc<End>> {
        self.table.end(address)
    }

    fn service(&self, address: IpAddr) -> Option<Arc<Service>> {
        self.table.service(address)
    }
}

async fn follow_pods(client: Client, here: String, table: Arc<Table>) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods: Api<PodObject> = Api::all_with(client, &resource);
    let mut events =
        pin!(watcher(pods, watcher::Config::default().page_size(PAGE)).backoff(trilobite_patience::of_a_watch()));
    let mut fresh = Table::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => on_pod(event, &here, &table, &mut fresh),
            Err(error) => {
                tracing::warn!(%error, "pods of other nodes cannot be watched; their flows show addresses alone")
            }
        }
    }
}

async fn follow_services(client: Client, table: Arc<Table>) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
    let services: Api<ServiceObject> = Api::all_with(client, &resource);
    let mut events =
        pin!(watcher(services, watcher::Config::default().page_size(PAGE)).backoff(trilobite_patience::of_a_watch()));
    let mut fresh = Table::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => on_service(event, &table, &mut fresh),
            Err(error) => tracing::warn!(%error, "Services cannot be watched; flows to them show addresses alone"),
        }
    }
}

/// A list that begins comes into `fresh`, and takes its place once it is whole: until then, and however often it has to
/// begin again, what was known is what is answered.
fn on_pod(event: watcher::Event<PodObject>, here: &str, table: &Table, fresh: &mut Table) {
    let put = |pod: PodObject, table: &Table| {
        say_unread(&pod);
        match pruned(&pod) {
            Some(pod) => table.put_pod(&pod, here),
            None => table.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default()),
        }
    };
    match event {
        watcher::Event::Init => *fresh = Table::default(),
        watcher::Event::InitApply(pod) => put(pod, fresh),
        watcher::Event::InitDone => table.take_pods(std::mem::take(fresh)),
        watcher::Event::Apply(pod) => put(pod, table),
        watcher::Event::Delete(pod) => table.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default()),
    }
}

/// As `on_pod`.
fn on_service(event: watcher::Event<ServiceObject>, table: &Table, fresh: &mut Table) {
    let put = |service: ServiceObject, table: &Table| {
        say_unread(&service);
        table.put_service(named(&service), &addresses(service.spec.cluster_ips.iter()), &outer_addresses(&service));
    };
    match event {
        watcher::Event::Init => *fresh = Table::default(),
        watcher::Event::InitApply(service) => put(service, fresh),
        watcher::Event::InitDone => table.take_services(std::mem::take(fresh)),
        watcher::Event::Apply(service) => put(service, table),
        watcher::Event::Delete(service) => table.put_service(named(&service), &[], &[]),
    }
}

/// What of a pod is kept; none once it has ended and its addresses are free.
fn pruned(object: &PodObject) -> Option<NodePod> {
    let status = object.status.clone().unwrap_or_default();
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    let metadata = &object.metadata;
    let labels = metadata.labels.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let (workload, workload_kind) = owner_of(metadata);
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
    Service { end: Arc::new(End::service(&namespace, &name, selector)), name, namespace }
}

/// Where those outside the cluster reach a Service; those inside do too.
fn outer_addresses(service: &ServiceObject) -> Vec<IpAddr> {
    let ingress = service.status.iter().flat_map(|status| &status.load_balancer.ingress);
    addresses(service.spec.external_ips.iter().chain(ingress.map(|address| &address.ip)))
}

/// `None`, which stands where a headless Service has no address, is no address.
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
    fn a_pod_of_a_deployment_shows_the_deployment() {
        let NodePod { pod, node_ips } = pruned(&object("Running")).unwrap();
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart", "Deployment"));
        assert_eq!((pod.ips.len(), node_ips.len(), pod.node.as_str()), (2, 1, "n2"));
    }

    #[test]
    fn a_pod_that_has_ended_leaves_its_address() {
        assert!(pruned(&object("Succeeded")).is_none());
    }

    #[test]
    fn a_static_pod_is_its_own_workload_as_on_its_own_node() {
        let mut mirror = object("Running");
        let owners = mirror.metadata.owner_references.as_mut().unwrap();
        (owners[0].kind, owners[0].name) = ("Node".into(), "n2".into());
        let pod = pruned(&mirror).unwrap().pod;
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart-5d9f-x2", "Pod"));
    }

    #[test]
    fn a_list_that_is_begun_again_answers_as_before_until_it_is_whole() {
        use watcher::Event;
        let (table, mut fresh) = (Table::default(), Table::default());
        let address = "10.2.0.9".parse().unwrap();
        let mut on = |event| {
            on_pod(event, "n1", &table, &mut fresh);
            table.end(address).map(|end| end.pod.clone())
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
    fn a_service_has_the_addresses_that_it_is_reached_at_from_outside_unless_they_are_a_nodes() {
        let service: ServiceObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"clusterIPs": ["10.96.0.5"], "externalIPs": ["203.0.113.7", "192.0.2.2"], "selector": {"app": "cart"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}, {"hostname": "cart.example.com"}]}},
        }))
        .unwrap();
        let table = Table::default();
        on_pod(watcher::Event::Apply(object("Running")), "n1", &table, &mut Table::default());
        let fresh = &mut Table::default();
        let answers = |table: &Table| {
            let of = |text: &str| table.service(text.parse().unwrap()).is_some();
            ["10.96.0.5", "203.0.113.7", "203.0.113.8", "192.0.2.2"].map(of)
        };
        on_service(watcher::Event::Apply(service.clone()), &table, fresh);
        assert_eq!(answers(&table), [true, true, true, false]);
        on_service(watcher::Event::Delete(service), &table, fresh);
        assert_eq!(answers(&table), [false; 4]);
    }

    #[test]
    fn what_is_null_in_a_pod_or_a_service_hides_neither() {
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
    fn a_headless_service_has_no_address() {
        assert_eq!(
            addresses(["None".to_owned(), "10.96.0.5".to_owned()].iter()),
            vec!["10.96.0.5".parse::<IpAddr>().unwrap()]
        );
    }
}
