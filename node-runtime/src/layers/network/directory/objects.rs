//! From the objects of the API server to the fields that the directory keeps. Pure.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use kube::api::Object;
use serde::Deserialize;
use serde_json::Value;
use trilobite_netpol::{NamedPort, Protocol};

use super::{NodeAddresses, NodePod, PublishedService, ServicePort};
use crate::{
    identity::{Address, Lenient, Pod, PodObject, addresses, container_ports_of, host_ips_of, pod_from_object},
    layers::network::{
        decode::Transport,
        endpoint::{Endpoint, Service},
    },
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    selector: BTreeMap<String, String>,
    ports: Vec<PortOfService>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortOfService {
    port: u16,
    protocol: String,
    node_port: u16,
    /// A number, or the name of a container's port.
    target_port: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    /// An entry may have a host name and no address.
    ingress: Vec<Address>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

/// Its host name is no address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceCidrSpec {
    cidrs: Vec<String>,
}

/// Nothing of it is used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NoStatus {}

pub(super) type ServiceObject = Object<Lenient<ServiceSpec>, Lenient<ServiceStatus>>;
pub(super) type NodeObject = Object<Lenient<NodeSpec>, Lenient<NodeStatus>>;
pub(super) type ServiceCidrObject = Object<Lenient<ServiceCidrSpec>, Lenient<NoStatus>>;

/// The fields of a pod that are kept; none once it has ended and its addresses are free.
pub(super) fn pod_of(object: &PodObject) -> Option<NodePod> {
    let pod = pod_from_object(object);
    if pod.ended {
        return None;
    }
    // The directory has every pod of the cluster: what flows do not show is not kept.
    let pod = Pod { containers: Vec::new(), cgroup_uid: String::new(), created: None, ..pod };
    let ports = container_ports_of(object).filter_map(|port| Some((transport(&port.protocol)?, port.container_port)));
    let (node_ips, ports, named_ports) = (host_ips_of(object), ports.collect(), named_ports_of(object));
    Some(NodePod { pod, node_ips, ports, named_ports })
}

fn named_ports_of(object: &PodObject) -> Vec<NamedPort> {
    let named = container_ports_of(object).filter(|port| !port.name.is_empty()).filter_map(|port| {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        Some(NamedPort { name: port.name.clone(), protocol: Protocol::parse(protocol)?, port: port.container_port })
    });
    named.collect()
}

pub(super) fn service_of(object: &ServiceObject) -> PublishedService {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let selector = object.spec.selector.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let endpoint = Arc::new(Endpoint::service(&namespace, &name, selector));
    let ingress = object.status.iter().flat_map(|status| &status.load_balancer.ingress);
    PublishedService {
        service: Service { endpoint, name, namespace },
        cluster_ips: addresses(object.spec.cluster_ips.iter()),
        external_ips: addresses(object.spec.external_ips.iter().chain(ingress.map(|address| &address.ip))),
        ports: object.spec.ports.iter().filter_map(service_port).collect(),
    }
}

pub(super) fn node_of(object: &NodeObject) -> NodeAddresses {
    let status = object.status.clone().unwrap_or_default();
    NodeAddresses {
        name: object.metadata.name.clone().unwrap_or_default(),
        addresses: addresses(status.addresses.iter().map(|address| &address.address)),
        pod_ranges: ranges(&object.spec.pod_cidrs),
        labels: object.metadata.labels.clone().unwrap_or_default(),
    }
}

/// Name and ranges.
pub(super) fn service_cidr_of(object: &ServiceCidrObject) -> (String, Vec<IpNet>) {
    (object.metadata.name.clone().unwrap_or_default(), ranges(&object.spec.cidrs))
}

fn service_port(port: &PortOfService) -> Option<ServicePort> {
    let target = match &port.target_port {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        // A name.
        Value::String(_) => None,
        _ => Some(port.port),
    };
    Some(ServicePort {
        transport: transport(&port.protocol)?,
        port: port.port,
        node_port: (port.node_port != 0).then_some(port.node_port),
        target: target.filter(|target| *target != 0),
    })
}

/// TCP by default; none for SCTP, of which there are no flows.
fn transport(protocol: &str) -> Option<Transport> {
    match protocol {
        "" | "TCP" => Some(Transport::Tcp),
        "UDP" => Some(Transport::Udp),
        _ => None,
    }
}

fn ranges(texts: &[String]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use serde_json::json;

    use super::*;

    pub(in crate::layers::network::directory) fn pod(phase: &str) -> PodObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "cart-5d9f-x2", "namespace": "shop", "uid": "u1", "labels": {"app": "cart", "pod-template-hash": "5d9f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-5d9f", "uid": "r", "controller": true}],
            },
            "spec": {"nodeName": "n2", "containers": [
                {"name": "main", "image": "cart", "ports": [{"name": "grpc", "containerPort": 50051}, {"containerPort": 7000, "protocol": "UDP"}]},
                {"name": "sctp", "image": "cart", "ports": [{"name": "sig", "containerPort": 7001, "protocol": "SCTP"}]},
            ]},
            "status": {"phase": phase, "podIPs": [{"ip": "10.2.0.9"}, {"ip": "fd00:2::9"}], "hostIPs": [{"ip": "192.0.2.2"}]},
        }))
        .unwrap()
    }

    #[test]
    fn pod_of_a_deployment_shows_the_deployment_and_its_ports() {
        let NodePod { pod, node_ips, ports, named_ports } = pod_of(&pod("Running")).unwrap();
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart", "Deployment"));
        assert_eq!((pod.ips.len(), node_ips.len(), pod.node.as_str()), (2, 1, "n2"));
        assert_eq!(ports, [(Transport::Tcp, 50051), (Transport::Udp, 7000)]);
        let named = |name: &str, protocol, port| NamedPort { name: name.into(), protocol, port };
        assert_eq!(named_ports, [named("grpc", Protocol::Tcp, 50051), named("sig", Protocol::Sctp, 7001)]);
    }

    #[test]
    fn pod_that_has_ended_gives_up_its_address() {
        assert!(pod_of(&pod("Succeeded")).is_none());
    }

    #[test]
    fn static_pod_is_its_own_workload() {
        let mut mirror = pod("Running");
        let owners = mirror.metadata.owner_references.as_mut().unwrap();
        (owners[0].kind, owners[0].name) = ("Node".into(), "n2".into());
        let pod = pod_of(&mirror).unwrap().pod;
        assert_eq!((pod.workload.as_str(), pod.workload_kind.as_str()), ("cart-5d9f-x2", "Pod"));
    }

    #[test]
    fn service_has_all_its_addresses_and_ports() {
        let object: ServiceObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {
                "clusterIPs": ["10.96.0.5"], "externalIPs": ["203.0.113.7"], "selector": {"app": "cart"},
                "ports": [
                    {"port": 80, "targetPort": 8080, "nodePort": 30080, "protocol": "TCP"},
                    {"port": 81, "targetPort": "web"},
                    {"port": 53, "protocol": "UDP"},
                    {"port": 7, "protocol": "SCTP"},
                ],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}, {"hostname": "cart.example.com"}]}},
        }))
        .unwrap();
        let published = service_of(&object);
        assert_eq!((published.cluster_ips.len(), published.external_ips.len()), (1, 2));
        let port = |transport, port, node_port, target| ServicePort { transport, port, node_port, target };
        assert_eq!(
            published.ports,
            [
                port(Transport::Tcp, 80, Some(30080), Some(8080)),
                port(Transport::Tcp, 81, None, None),
                port(Transport::Udp, 53, None, Some(53)),
            ]
        );
    }

    #[test]
    fn null_fields_hide_neither_pod_nor_service() {
        let metadata = json!({"name": "cart", "namespace": "shop", "uid": "u1"});
        let pod = json!({
            "metadata": metadata, "spec": {"nodeName": "n2", "hostNetwork": null, "containers": [{"ports": null}]},
            "status": {"phase": "Running", "podIPs": [{"ip": null}, {"ip": "10.2.0.9"}], "hostIPs": null},
        });
        let pod: PodObject = serde_json::from_value(pod).unwrap();
        assert_eq!(pod_of(&pod).unwrap().pod.ips.len(), 1);
        let service = json!({"metadata": metadata, "spec": {"clusterIPs": null, "selector": null, "ports": null}, "status": null});
        let service: ServiceObject = serde_json::from_value(service).unwrap();
        let published = service_of(&service);
        assert_eq!((published.service.name.as_str(), published.cluster_ips.len()), ("cart", 0));
    }

    #[test]
    fn headless_service_has_no_address() {
        let texts = ["None".to_owned(), "10.96.0.5".to_owned()];
        assert_eq!(addresses(texts.iter()), ["10.96.0.5".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn node_has_its_addresses_and_the_ranges_of_its_pods() {
        let object: NodeObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"},
            "spec": {"podCIDR": "10.1.1.0/24", "podCIDRs": ["10.1.1.0/24", "fd00:1:1::/64"]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.0.2.2"}, {"type": "Hostname", "address": "n2"},
            ]},
        }))
        .unwrap();
        let node = node_of(&object);
        assert_eq!((node.name.as_str(), node.addresses.len(), node.pod_ranges.len()), ("n2", 1, 2));
    }
}
