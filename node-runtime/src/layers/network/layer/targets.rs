//! Which interfaces are watched, and for which units: the veths of selected pods, or without a cluster the machine's own. Pure.

use std::sync::Arc;

use super::notes::UnitNotes;
use crate::{
    identity::Pod,
    layers::network::{
        deliver::{subscriber::SubscriberSpec, watched_for::WatchedFor},
        endpoint::veth::VethLocation,
        enrich::WatchTarget,
        flow::Interface,
        netlink::NetworkLink,
    },
    plan::UnitKey,
    problem::Problem,
};

/// Units that want flows.
pub(super) type WantedUnits<'a> = Vec<(&'a UnitKey, &'a SubscriberSpec)>;

#[derive(Default)]
pub(super) struct Targets {
    pub(super) interfaces: Vec<WatchTarget>,
    pub(super) watched_for: WatchedFor,
    pub(super) notes: UnitNotes,
    /// The veth of some pod is not known yet.
    pub(super) pending: bool,
}

impl Targets {
    /// The veths of the selected pods. `locate` finds them; `selects` says whether a unit selects a pod.
    pub(super) fn pods(
        units: &WantedUnits<'_>,
        pods: &[Arc<Pod>],
        selects: impl Fn(&SubscriberSpec, &Pod) -> bool,
        mut locate: impl FnMut(&Pod) -> VethLocation,
    ) -> Self {
        let mut targets = Self::default();
        for pod in pods.iter().filter(|pod| !pod.ended) {
            let selecting: WantedUnits<'_> = units.iter().copied().filter(|(_, spec)| selects(spec, pod)).collect();
            if selecting.is_empty() {
                continue;
            }
            let name = format!("{}/{}", pod.namespace, pod.name);
            if pod.host_network {
                targets.note(&selecting, &Problem::HostNetworkPod { pod: name });
                continue;
            }
            let keys = || selecting.iter().map(|(key, _)| (*key).clone());
            targets.watched_for.add_pod(pod, keys());
            match locate(pod) {
                VethLocation::Pending => targets.pending = true,
                VethLocation::NoVeth => {
                    let detail = "no veth of this node leads to it; its network is not watched".into();
                    targets.note(&selecting, &Problem::LoadFailed { what: format!("watching pod {name}"), detail });
                }
                VethLocation::Found(links) => {
                    for link in links {
                        targets.watched_for.add_interface(link.index, keys());
                        let pod = Some(pod.clone());
                        targets.interfaces.push(WatchTarget { interface: interface(&link), pod, behind: true });
                    }
                }
            }
        }
        targets
    }

    /// Without a cluster, a unit that restricts the pods selects nothing; any other selects the machine.
    pub(super) fn machine(
        units: &WantedUnits<'_>,
        links: &[NetworkLink],
        selects_machine: impl Fn(&SubscriberSpec) -> bool,
    ) -> Self {
        let mut targets = Self::default();
        let mut keys = Vec::new();
        for (key, spec) in units {
            if selects_machine(spec) {
                keys.push((*key).clone());
            } else {
                let detail = "without a cluster no pod is known, so this selects nothing; write podSelector: {}".into();
                targets.notes.add(key, Problem::Unsupported { field: "spec.podSelector".into(), detail });
            }
        }
        if keys.is_empty() {
            return targets;
        }
        for link in links {
            let behind = link.kind == "veth";
            targets.interfaces.push(WatchTarget { interface: interface(link), pod: None, behind });
            targets.watched_for.add_interface(link.index, keys.iter().cloned());
        }
        targets.watched_for.add_machine(keys);
        targets
    }

    fn note(&mut self, units: &WantedUnits<'_>, problem: &Problem) {
        units.iter().for_each(|(key, spec)| self.notes.add_for_pod(key, spec, problem));
    }
}

fn interface(link: &NetworkLink) -> Interface {
    Interface { index: link.index, name: link.name.clone() }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{FlowsPart, FlowsSession, PodScope, SourceKind};

    use super::*;

    fn pod(name: &str) -> Arc<Pod> {
        Arc::new(Pod { uid: name.into(), name: name.into(), namespace: "shop".into(), ..Pod::default() })
    }

    fn stack() -> (UnitKey, SubscriberSpec) {
        let key = UnitKey { kind: SourceKind::ObservabilityStack, name: "default".into(), version: "1".into() };
        let part = FlowsPart { pods: Default::default(), flow_entries: 256, ring_bytes: 4096 };
        (key, SubscriberSpec::from_part(&part))
    }

    fn capture() -> (UnitKey, SubscriberSpec) {
        let key = UnitKey { kind: SourceKind::FlowCapture, name: "shop/capture".into(), version: "1".into() };
        let session = FlowsSession {
            pods: PodScope::default(),
            ports: Vec::new(),
            protocols: Vec::new(),
            output: Vec::new(),
            flow_entries: 256,
            ring_bytes: 4096,
        };
        (key, SubscriberSpec::from_session(&session))
    }

    fn veth(index: u32) -> NetworkLink {
        NetworkLink { index, name: format!("veth{index}"), kind: "veth".into(), ..NetworkLink::default() }
    }

    #[test]
    fn interface_of_a_pod_is_watched_for_every_unit_that_selects_it() {
        let (stack, capture) = (stack(), capture());
        let units = vec![(&stack.0, &stack.1), (&capture.0, &capture.1)];
        let only_front = |spec: &SubscriberSpec, pod: &Pod| !spec.session || pod.name == "front";
        let locate = |pod: &Pod| match pod.name.as_str() {
            "front" => VethLocation::Found(vec![veth(7)]),
            "cart" => VethLocation::Found(vec![veth(8)]),
            _ => VethLocation::Pending,
        };
        let targets = Targets::pods(&units, &[pod("front"), pod("cart"), pod("late")], only_front, locate);
        assert_eq!(targets.interfaces.len(), 2);
        let mut watched_for = targets.watched_for;
        assert_eq!(watched_for.remove_interface(7), [stack.0.clone(), capture.0.clone()]);
        assert_eq!(watched_for.remove_interface(8), [stack.0]);
        assert!(targets.pending && targets.notes.all(&capture.0).is_empty());
    }

    #[test]
    fn pod_in_the_hosts_network_is_noted_for_a_session_and_not_for_the_stack() {
        let (stack, capture) = (stack(), capture());
        let units = vec![(&stack.0, &stack.1), (&capture.0, &capture.1)];
        let host = Arc::new(Pod { host_network: true, ..(*pod("proxy")).clone() });
        let targets = Targets::pods(&units, &[host], |_, _| true, |_| VethLocation::Pending);
        assert!(targets.interfaces.is_empty() && !targets.pending);
        assert_eq!((targets.notes.all(&stack.0).len(), targets.notes.all(&capture.0).len()), (0, 1));
    }

    #[test]
    fn machine_is_watched_only_for_units_that_do_not_restrict_pods() {
        let (stack, capture) = (stack(), capture());
        let units = vec![(&stack.0, &stack.1), (&capture.0, &capture.1)];
        let targets = Targets::machine(&units, &[veth(7)], |spec| !spec.session);
        let mut watched_for = targets.watched_for;
        assert_eq!(watched_for.remove_interface(7), [stack.0]);
        assert!(matches!(targets.notes.all(&capture.0)[..], [Problem::Unsupported { .. }]));
    }
}
