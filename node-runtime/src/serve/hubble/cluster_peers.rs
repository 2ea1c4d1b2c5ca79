//! The agents of all nodes, as an unmodified hubble-relay learns of them: the pods of the DaemonSet, listed while it asks.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{Stream, stream::unfold};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;
use trilobite_api::peer::{ChangeNotification, ChangeNotificationType, Tls};
use trilobite_crds::read_api::{AGENT, hubble_node_name};

const INTERVAL: Duration = Duration::from_secs(5);

struct ClusterPeers {
    pods: Api<Pod>,
    port: u16,
    known: BTreeMap<String, IpAddr>,
    ready: VecDeque<ChangeNotification>,
    ticks: Interval,
}

/// Every agent, and then each that comes, moves or goes. All have the same port.
pub(super) fn cluster_peers(
    client: &Client,
    port: u16,
) -> impl Stream<Item = Result<ChangeNotification, Status>> + Send + 'static {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pods = Api::default_namespaced(client.clone());
    let peers = ClusterPeers { pods, port, known: BTreeMap::new(), ready: VecDeque::new(), ticks };
    unfold(peers, |mut peers| async move { Some((Ok(peers.next().await), peers)) })
}

impl ClusterPeers {
    async fn next(&mut self) -> ChangeNotification {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            self.ticks.tick().await;
            // From the API server's cache.
            let agents = ListParams::default().labels(&format!("app.kubernetes.io/name={AGENT}")).match_any();
            match self.pods.list(&agents).await {
                Ok(pods) => {
                    let listed = pods.items.iter().filter_map(node_and_address).collect();
                    self.ready.extend(changes(&self.known, &listed, self.port));
                    self.known = listed;
                }
                Err(error) => tracing::warn!(%error, "cannot list the agents' pods for a hubble-relay"),
            }
        }
    }
}

/// None for a pod without a node or an address, and for one that has ended.
fn node_and_address(pod: &Pod) -> Option<(String, IpAddr)> {
    let (node, status) = (pod.spec.as_ref()?.node_name.clone()?, pod.status.as_ref()?);
    let has_ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let address = status.host_ip.as_deref().filter(|_| !has_ended)?;
    Some((node, address.parse().ok()?))
}

fn changes(known: &BTreeMap<String, IpAddr>, listed: &BTreeMap<String, IpAddr>, port: u16) -> Vec<ChangeNotification> {
    let notification = |node: &str, ip: IpAddr, kind: ChangeNotificationType| ChangeNotification {
        name: node.to_owned(),
        address: SocketAddr::new(ip, port).to_string(),
        r#type: kind.into(),
        tls: Some(Tls { server_name: hubble_node_name(node) }),
    };
    let gone = known.iter().filter(|(node, _)| !listed.contains_key(*node));
    let gone = gone.map(|(node, ip)| notification(node, *ip, ChangeNotificationType::PeerDeleted));
    let present = listed.iter().filter_map(|(node, ip)| match known.get(node) {
        None => Some(notification(node, *ip, ChangeNotificationType::PeerAdded)),
        Some(last) if last != ip => Some(notification(node, *ip, ChangeNotificationType::PeerUpdated)),
        Some(_) => None,
    });
    gone.chain(present).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agents(list: &[(&str, &str)]) -> BTreeMap<String, IpAddr> {
        list.iter().map(|(node, ip)| ((*node).to_owned(), ip.parse().unwrap())).collect()
    }

    #[test]
    fn agents_that_come_move_and_go_are_announced() {
        let known = agents(&[("alder", "10.0.0.1"), ("birch", "10.0.0.2"), ("cedar", "10.0.0.3")]);
        let listed = agents(&[("alder", "10.0.0.1"), ("birch", "fd00::2"), ("dog.wood", "10.0.0.4")]);
        let said: Vec<_> = changes(&known, &listed, 4244)
            .into_iter()
            .map(|change| (change.r#type(), change.name, change.address, change.tls.unwrap().server_name))
            .map(|(kind, name, address, server)| format!("{} {name} {address} {server}", kind.as_str_name()))
            .collect();
        assert_eq!(
            said,
            [
                "PEER_DELETED cedar 10.0.0.3:4244 cedar.default.hubble-grpc.cilium.io",
                "PEER_UPDATED birch [fd00::2]:4244 birch.default.hubble-grpc.cilium.io",
                "PEER_ADDED dog.wood 10.0.0.4:4244 dog-wood.default.hubble-grpc.cilium.io",
            ]
        );
        assert!(changes(&listed, &listed, 4244).is_empty());
    }

    #[test]
    fn pod_without_an_address_is_no_peer() {
        let pod = |node: Option<&str>, ip: Option<&str>, phase: &str| -> Pod {
            let (spec, status) = (json!({"nodeName": node, "containers": []}), json!({"hostIP": ip, "phase": phase}));
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec, "status": status})).unwrap()
        };
        let found = node_and_address(&pod(Some("alder"), Some("10.0.0.1"), "Running"));
        assert_eq!(found, Some(("alder".into(), "10.0.0.1".parse().unwrap())));
        for pod in [
            pod(None, Some("10.0.0.1"), "Running"),
            pod(Some("alder"), None, "Pending"),
            pod(Some("alder"), Some("10.0.0.1"), "Failed"),
        ] {
            assert_eq!(node_and_address(&pod), None);
        }
    }
}
