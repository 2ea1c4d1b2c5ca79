//! Which nodes have an agent, and its address: a watch on the pods of the agents' DaemonSet.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::watch;
use trilobite_backoff::watch_backoff;
use trilobite_crds::read_api::AGENT;

/// Address of the agent of each node.
pub type Addresses = Arc<BTreeMap<String, SocketAddr>>;

/// Node and address by the name of the pod.
#[derive(Debug, Default)]
struct AgentPods {
    pods: BTreeMap<String, (String, IpAddr)>,
    /// Pods of a list that is not complete yet.
    listed: BTreeMap<String, (String, IpAddr)>,
}

impl AgentPods {
    /// Whether the pods have changed.
    fn apply(&mut self, event: Event<Pod>) -> bool {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                if let Some(node) = node_and_address(&pod) {
                    self.listed.insert(pod.name_any(), node);
                }
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let changed = listed != self.pods;
                self.pods = listed;
                return changed;
            }
            Event::Apply(pod) => {
                return match node_and_address(&pod) {
                    Some(node) => self.pods.insert(pod.name_any(), node.clone()) != Some(node),
                    None => self.pods.remove(&pod.name_any()).is_some(),
                };
            }
            Event::Delete(pod) => return self.pods.remove(&pod.name_any()).is_some(),
        }
        false
    }

    fn addresses(&self, port: u16) -> Addresses {
        Arc::new(self.pods.values().map(|(node, ip)| (node.clone(), SocketAddr::new(*ip, port))).collect())
    }
}

/// None for a pod without a node or an address, and for one that has ended.
fn node_and_address(pod: &Pod) -> Option<(String, IpAddr)> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    Some((node, status.host_ip.as_deref()?.parse().ok()?))
}

/// Follows the pods for ever.
pub async fn watch_agents(
    client: Client,
    namespace: &str,
    port: u16,
    addresses: watch::Sender<Addresses>,
) -> Infallible {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("app.kubernetes.io/name={AGENT}"));
    let pruned = watcher(pods, config).backoff(watch_backoff());
    let mut events = pin!(pruned);
    let mut known = AgentPods::default();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if known.apply(event) {
                    addresses.send_replace(known.addresses(port));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot watch the agents' pods"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: Option<&str>, ip: Option<&str>, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"nodeName": node, "containers": []},
            "status": {"hostIP": ip, "phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn agents_are_known_by_node_once_they_have_an_address() {
        let mut known = AgentPods::default();
        assert!(!known.apply(Event::Init));
        assert!(!known.apply(Event::InitApply(pod("a", Some("alder"), Some("10.0.0.1"), "Running"))));
        assert!(!known.apply(Event::InitApply(pod("b", Some("birch"), None, "Pending"))));
        assert!(known.apply(Event::InitDone));
        assert_eq!(*known.addresses(4244), BTreeMap::from([("alder".into(), "10.0.0.1:4244".parse().unwrap())]));
        assert!(known.apply(Event::Apply(pod("b", Some("birch"), Some("fd00::2"), "Running"))));
        assert!(!known.apply(Event::Apply(pod("b", Some("birch"), Some("fd00::2"), "Running"))));
        assert_eq!(known.addresses(1)["birch"], "[fd00::2]:1".parse().unwrap());
        assert!(known.apply(Event::Delete(pod("a", None, None, "Running"))));
        assert_eq!(known.addresses(1).len(), 1);
    }

    #[test]
    fn new_list_replaces_the_old_one() {
        let mut known = AgentPods::default();
        known.apply(Event::Apply(pod("a", Some("alder"), Some("10.0.0.1"), "Running")));
        known.apply(Event::Init);
        known.apply(Event::InitApply(pod("b", Some("birch"), Some("10.0.0.2"), "Running")));
        assert_eq!(known.addresses(1).keys().collect::<Vec<_>>(), ["alder"], "the list is not complete");
        assert!(known.apply(Event::InitDone));
        assert_eq!(known.addresses(1).keys().collect::<Vec<_>>(), ["birch"]);
    }

    #[test]
    fn ended_pods_are_no_agents() {
        let mut known = AgentPods::default();
        assert!(!known.apply(Event::Apply(pod("a", Some("alder"), Some("10.0.0.1"), "Failed"))));
    }
}
