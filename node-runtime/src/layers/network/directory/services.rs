//! Services by address, protocol and port: as a packet reaches them. Pure: time is an argument, as in `pods`.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::layers::network::{
    decode::Transport,
    endpoint::{AddressOwner, Endpoint, Service},
};

/// A Service, and where it is reached.
#[derive(Clone, Debug)]
pub struct PublishedService {
    pub service: Service,
    pub cluster_ips: Vec<IpAddr>,
    /// Its external IPs and those of its load balancer: they work inside the cluster as well.
    pub external_ips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub transport: Transport,
    pub port: u16,
    /// On the addresses of every node.
    pub node_port: Option<u16>,
    /// Of its pods; none if it is given by name, which is then a port that their containers declare.
    pub target: Option<u16>,
}

type Name = (String, String);

#[derive(Debug, Default)]
pub(super) struct Services {
    by_name: HashMap<Name, PublishedService>,
    by_address: HashMap<(Transport, SocketAddr), AddressOwner<Service>>,
    by_node_port: HashMap<(Transport, u16), AddressOwner<Service>>,
    by_target: HashMap<(Transport, u16), Vec<Arc<Service>>>,
    cluster_ips: HashSet<IpAddr>,
}

impl Services {
    /// Adds or updates a Service.
    pub(super) fn put(&mut self, published: PublishedService, now: u64) {
        let name = (published.service.namespace.clone(), published.service.name.clone());
        let former = self.by_name.remove(&name);
        let service = Arc::new(published.service.clone());
        // An update leaves what it does not change since when it was.
        let since = |known: Option<&AddressOwner<Service>>| match known {
            Some(known) if known.owner.is_same(&service) => known.since,
            _ => now,
        };
        let mut fresh = Vec::new();
        let mut fresh_ports = Vec::new();
        for port in &published.ports {
            for address in published.cluster_ips.iter().chain(&published.external_ips) {
                let key = (port.transport, SocketAddr::new(*address, port.port));
                fresh.push((key, since(self.by_address.get(&key))));
            }
            if let Some(node_port) = port.node_port {
                let key = (port.transport, node_port);
                fresh_ports.push((key, since(self.by_node_port.get(&key))));
            }
        }
        if let Some(former) = former {
            self.release(&former);
        }
        for (key, since) in fresh {
            self.by_address.insert(key, AddressOwner { owner: service.clone(), since });
        }
        for (key, since) in fresh_ports {
            self.by_node_port.insert(key, AddressOwner { owner: service.clone(), since });
        }
        for port in &published.ports {
            if let Some(target) = port.target {
                self.by_target.entry((port.transport, target)).or_default().push(service.clone());
            }
        }
        self.cluster_ips.extend(&published.cluster_ips);
        self.by_name.insert(name, published);
    }

    pub(super) fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(former) = self.by_name.remove(&(namespace.to_owned(), name.to_owned())) {
            self.release(&former);
        }
    }

    /// As `Pods::keep_times`.
    pub(super) fn keep_times(&mut self, former: &Self, is_first_list: bool) {
        let since = |known: Option<&AddressOwner<Service>>, entry: &AddressOwner<Service>| match known {
            Some(known) if known.owner.is_same(&entry.owner) => known.since,
            None if is_first_list => 0,
            _ => entry.since,
        };
        for (key, entry) in &mut self.by_address {
            entry.since = since(former.by_address.get(key), entry);
        }
        for (key, entry) in &mut self.by_node_port {
            entry.since = since(former.by_node_port.get(key), entry);
        }
    }

    /// The Service that is reached there; `is_node` says that a node has the address.
    pub(super) fn owner(
        &self,
        transport: Transport,
        address: SocketAddr,
        is_node: bool,
    ) -> Option<AddressOwner<Service>> {
        let by_node_port = || self.by_node_port.get(&(transport, address.port())).filter(|_| is_node);
        self.by_address.get(&(transport, address)).or_else(by_node_port).cloned()
    }

    /// A Service has this address inside the cluster, perhaps with other ports.
    pub(super) fn has_cluster_ip(&self, address: IpAddr) -> bool {
        self.cluster_ips.contains(&address)
    }

    /// A Service sends to this port of the pod.
    pub(super) fn target(&self, pod: &Endpoint, port: (Transport, u16)) -> bool {
        let selects = |service: &&Arc<Service>| {
            let wanted = &service.endpoint.labels;
            // Two labels are those of the namespace and the cluster: a Service without a selector has no pods of its own.
            wanted.len() > 2 && wanted.iter().all(|label| pod.labels.binary_search(label).is_ok())
        };
        self.by_target.get(&port).is_some_and(|services| services.iter().any(|service| selects(&service)))
    }

    /// Forgets where a Service was reached, but for what another Service has taken over.
    fn release(&mut self, former: &PublishedService) {
        let is_own = |owner: &AddressOwner<Service>| owner.owner.is_same(&former.service);
        for port in &former.ports {
            for address in former.cluster_ips.iter().chain(&former.external_ips) {
                let key = (port.transport, SocketAddr::new(*address, port.port));
                if self.by_address.get(&key).is_some_and(is_own) {
                    self.by_address.remove(&key);
                }
            }
            if let Some(node_port) = port.node_port
                && self.by_node_port.get(&(port.transport, node_port)).is_some_and(is_own)
            {
                self.by_node_port.remove(&(port.transport, node_port));
            }
            if let Some(target) = port.target
                && let Some(services) = self.by_target.get_mut(&(port.transport, target))
            {
                services.retain(|service| !service.is_same(&former.service));
                if services.is_empty() {
                    self.by_target.remove(&(port.transport, target));
                }
            }
        }
        for address in &former.cluster_ips {
            if !self.by_name.values().any(|other| other.cluster_ips.contains(address)) {
                self.cluster_ips.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: ServicePort =
        ServicePort { transport: Transport::Tcp, port: 80, node_port: Some(30080), target: Some(8080) };

    fn published(name: &str, ports: &[ServicePort]) -> PublishedService {
        let endpoint = Arc::new(Endpoint::service("shop", name, [("app", name)].into_iter()));
        PublishedService {
            service: Service { name: name.into(), namespace: "shop".into(), endpoint },
            cluster_ips: vec!["10.96.0.5".parse().unwrap(), "fd00:96::5".parse().unwrap()],
            external_ips: vec!["203.0.113.7".parse().unwrap()],
            ports: ports.to_vec(),
        }
    }

    fn name(services: &Services, transport: Transport, address: &str, is_node: bool) -> Option<String> {
        services.owner(transport, address.parse().unwrap(), is_node).map(|owner| owner.owner.name.clone())
    }

    #[test]
    fn service_is_found_by_address_protocol_and_port() {
        let mut services = Services::default();
        let dns = ServicePort { transport: Transport::Udp, port: 53, node_port: None, target: None };
        services.put(published("cart", &[PORT, dns]), 1);
        let cart = Some("cart".to_owned());
        for (transport, address, is_node, expected) in [
            (Transport::Tcp, "10.96.0.5:80", false, &cart),
            (Transport::Tcp, "[fd00:96::5]:80", false, &cart),
            (Transport::Tcp, "203.0.113.7:80", false, &cart),
            (Transport::Udp, "10.96.0.5:53", false, &cart),
            (Transport::Udp, "10.96.0.5:80", false, &None),
            (Transport::Tcp, "10.96.0.5:443", false, &None),
            (Transport::Tcp, "192.0.2.2:30080", true, &cart),
            (Transport::Tcp, "192.0.2.2:30080", false, &None),
            (Transport::Udp, "192.0.2.2:30080", true, &None),
        ] {
            assert_eq!(&name(&services, transport, address, is_node), expected, "{transport:?} {address}");
        }
        assert!(services.has_cluster_ip("10.96.0.5".parse().unwrap()));
        services.remove("shop", "cart");
        assert_eq!(name(&services, Transport::Tcp, "10.96.0.5:80", false), None);
        assert!(!services.has_cluster_ip("10.96.0.5".parse().unwrap()));
    }

    #[test]
    fn two_services_may_share_an_address_with_other_ports() {
        let mut services = Services::default();
        services.put(published("cart", &[PORT]), 1);
        services.put(published("till", &[ServicePort { port: 443, node_port: None, ..PORT }]), 2);
        assert_eq!(name(&services, Transport::Tcp, "203.0.113.7:80", false).as_deref(), Some("cart"));
        assert_eq!(name(&services, Transport::Tcp, "203.0.113.7:443", false).as_deref(), Some("till"));
    }

    #[test]
    fn late_deletion_does_not_remove_the_next_service_at_that_address() {
        let mut services = Services::default();
        services.put(published("cart", &[PORT]), 1);
        services.put(published("till", &[PORT]), 5);
        services.remove("shop", "cart");
        let owner = services.owner(Transport::Tcp, "10.96.0.5:80".parse().unwrap(), false).unwrap();
        assert_eq!((owner.owner.name.as_str(), owner.since), ("till", 5));
        assert_eq!(name(&services, Transport::Tcp, "192.0.2.2:30080", true).as_deref(), Some("till"));
        assert!(services.has_cluster_ip("10.96.0.5".parse().unwrap()));
        services.put(published("till", &[PORT]), 9);
        let owner = services.owner(Transport::Tcp, "10.96.0.5:80".parse().unwrap(), false).unwrap();
        assert_eq!(owner.since, 5, "an update changes no owner");
    }

    #[test]
    fn target_port_belongs_to_the_pods_that_are_selected() {
        let mut services = Services::default();
        services.put(published("cart", &[PORT]), 1);
        let pod = |app: &str| Endpoint::service("shop", "", [("app", app), ("tier", "back")].into_iter());
        assert!(services.target(&pod("cart"), (Transport::Tcp, 8080)));
        assert!(!services.target(&pod("till"), (Transport::Tcp, 8080)));
        assert!(!services.target(&pod("cart"), (Transport::Udp, 8080)));
        services.remove("shop", "cart");
        assert!(!services.target(&pod("cart"), (Transport::Tcp, 8080)));
    }
}
