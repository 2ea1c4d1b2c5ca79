//! Which subscribers an event is for. Pure.

use std::collections::HashMap;

use crate::{
    identity::Pod,
    layers::network::flow::{Event, Flow},
    plan::UnitKey,
};

/// Subscribers of interfaces, for what these pass on, and of pods, for all other events.
#[derive(Debug, Default)]
pub(in crate::layers::network) struct WatchedFor {
    /// By index.
    interfaces: HashMap<u32, Vec<UnitKey>>,
    /// By uid.
    pods: HashMap<String, Vec<UnitKey>>,
    /// Without a cluster: of all other events on the machine.
    machine: Vec<UnitKey>,
}

impl WatchedFor {
    pub(in crate::layers::network) fn add_interface(&mut self, index: u32, keys: impl IntoIterator<Item = UnitKey>) {
        add(self.interfaces.entry(index).or_default(), keys);
    }

    pub(in crate::layers::network) fn add_pod(&mut self, pod: &Pod, keys: impl IntoIterator<Item = UnitKey>) {
        add(self.pods.entry(pod.uid.clone()).or_default(), keys);
    }

    pub(in crate::layers::network) fn add_machine(&mut self, keys: impl IntoIterator<Item = UnitKey>) {
        add(&mut self.machine, keys);
    }

    /// Adds what another knows.
    pub(super) fn extend(&mut self, more: &Self) {
        let Self { interfaces, pods, machine } = more;
        interfaces.iter().for_each(|(index, keys)| self.add_interface(*index, keys.iter().cloned()));
        pods.iter().for_each(|(uid, keys)| add(self.pods.entry(uid.clone()).or_default(), keys.iter().cloned()));
        self.add_machine(machine.iter().cloned());
    }

    /// Returns the subscribers of an interface that turned out not to be watched.
    pub(in crate::layers::network) fn remove_interface(&mut self, index: u32) -> Vec<UnitKey> {
        self.interfaces.remove(&index).unwrap_or_default()
    }

    /// Some interface is watched for a unit.
    pub(in crate::layers::network) fn has_interface_of(&self, key: &UnitKey) -> bool {
        self.interfaces.values().any(|keys| keys.contains(key))
    }

    /// A pod is watched for some unit.
    pub(in crate::layers::network) fn has_pod(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|keys| !keys.is_empty())
    }

    /// The subscribers of a flow, each once.
    pub(super) fn subscribers(&self, flow: &Flow) -> impl Iterator<Item = &UnitKey> {
        let of_pod = |uid: &str| self.pods.get(uid).map_or(&[][..], Vec::as_slice);
        let (first, second) = match &flow.event {
            Event::Forwarded(_) => (self.interfaces.get(&flow.interface.index).map_or(&[][..], Vec::as_slice), &[][..]),
            Event::Dropped(_) | Event::PolicyVerdict(_) | Event::L7(_) if !self.machine.is_empty() => {
                (self.machine.as_slice(), &[][..])
            }
            Event::Dropped(_) | Event::PolicyVerdict(_) | Event::L7(_) => {
                (of_pod(&flow.source_endpoint.uid), of_pod(&flow.destination_endpoint.uid))
            }
        };
        first.iter().chain(second.iter().filter(|key| !first.contains(key)))
    }

    /// The subscribers of a flow's server that are not those of its client.
    pub(super) fn subscribers_of_server(&self, flow: &Flow) -> impl Iterator<Item = &UnitKey> {
        let of_pod = |uid: &str| self.pods.get(uid).map_or(&[][..], Vec::as_slice);
        let [source, destination] = [&flow.source_endpoint, &flow.destination_endpoint].map(|end| of_pod(&end.uid));
        let (client, server) = if flow.is_reply == Some(true) { (destination, source) } else { (source, destination) };
        server.iter().filter(|key| !client.contains(key))
    }
}

fn add(known: &mut Vec<UnitKey>, more: impl IntoIterator<Item = UnitKey>) {
    known.extend(more);
    known.sort();
    known.dedup();
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::SourceKind;

    use super::*;
    use crate::layers::network::flow::{
        L7FlowType,
        samples::{dns, drop_by_policy, syn},
    };

    fn unit(name: &str) -> UnitKey {
        UnitKey { kind: SourceKind::FlowCapture, name: name.into(), version: "1".into() }
    }

    fn names(watched_for: &WatchedFor, flow: &Flow) -> Vec<String> {
        watched_for.subscribers(flow).map(|key| key.name.to_string()).collect()
    }

    fn pod(uid: &str) -> Pod {
        Pod { uid: uid.into(), ..Pod::default() }
    }

    #[test]
    fn drop_is_for_the_pods_at_its_ends_not_for_an_interface() {
        let mut watched_for = WatchedFor::default();
        watched_for.add_interface(12, [unit("shop/by-interface")]);
        watched_for.add_pod(&pod("front-1"), [unit("shop/a"), unit("shop/both")]);
        watched_for.add_pod(&pod("cart-1"), [unit("shop/b"), unit("shop/both")]);
        watched_for.add_pod(&pod("other-1"), [unit("shop/other")]);
        assert_eq!(names(&watched_for, &syn()), ["shop/by-interface"]);
        assert_eq!(names(&watched_for, &drop_by_policy()), ["shop/a", "shop/both", "shop/b"]);
        let mut from_outside = drop_by_policy();
        from_outside.source_endpoint = std::sync::Arc::default();
        assert_eq!(names(&watched_for, &from_outside), ["shop/b", "shop/both"]);
    }

    #[test]
    fn subscribers_of_a_server_are_not_those_of_its_client() {
        let mut watched_for = WatchedFor::default();
        watched_for.add_pod(&pod("front-1"), [unit("shop/client"), unit("shop/both")]);
        watched_for.add_pod(&pod("cart-1"), [unit("shop/server"), unit("shop/both")]);
        let of_server = |flow_type| {
            let flow = dns(flow_type, 0);
            watched_for.subscribers_of_server(&flow).map(|key| key.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of_server(L7FlowType::Request), ["shop/server"]);
        assert_eq!(of_server(L7FlowType::Response), ["shop/server"]);
    }

    #[test]
    fn without_a_cluster_drops_are_for_all_who_watch_the_machine() {
        let mut watched_for = WatchedFor::default();
        watched_for.add_machine([unit("here")]);
        assert_eq!(names(&watched_for, &drop_by_policy()), ["here"]);
        assert!(names(&watched_for, &syn()).is_empty());
    }

    #[test]
    fn departing_subscribers_stay_beside_new_ones() {
        let mut watched_for = WatchedFor::default();
        watched_for.add_pod(&pod("front-1"), [unit("old")]);
        let mut more = WatchedFor::default();
        more.add_pod(&pod("front-1"), [unit("new"), unit("old")]);
        more.add_interface(12, [unit("new")]);
        watched_for.extend(&more);
        assert_eq!(names(&watched_for, &drop_by_policy()), ["new", "old"]);
        assert!(watched_for.has_interface_of(&unit("new")) && !watched_for.has_interface_of(&unit("old")));
        assert_eq!(watched_for.remove_interface(12), [unit("new")]);
    }
}
