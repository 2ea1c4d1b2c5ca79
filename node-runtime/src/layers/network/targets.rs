//! Which interfaces are watched for whom: those that lead to the selected pods, or without a cluster the machine's own.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use tracing::info;

use super::{engine::Target, flow::Interface, netlink::Link, outlet::WatchedFor, place::Place, state::State};
use crate::{
    identity::{Owner, Pod, PodContainer},
    layers::UnitKey,
    report::Problem,
};

/// What is wrong, by unit.
#[derive(Default)]
pub(super) struct Notes {
    of: BTreeMap<UnitKey, Vec<Problem>>,
    /// The stack selects pods that nobody named: one line says how many cannot be had, and the first of them.
    of_many: BTreeMap<UnitKey, (usize, Problem)>,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn all(&self, key: &UnitKey) -> Vec<Problem> {
        let mut notes = self.of.get(key).cloned().unwrap_or_default();
        notes.extend(self.of_many.get(key).map(|(count, first)| match count {
            1 => first.clone(),
            _ => Problem::LoadFailed { what: format!("watching {count} pods, as this"), detail: first.message() },
        }));
        notes
    }

    fn add(&mut self, key: &UnitKey, problem: Problem) {
        self.of.entry(key.clone()).or_default().push(problem);
    }

    fn count(&mut self, key: &UnitKey, problem: &Problem) {
        match self.of_many.entry(key.clone()) {
            Entry::Vacant(entry) => drop(entry.insert((1, problem.clone()))),
            Entry::Occupied(entry) => entry.into_mut().0 += 1,
        }
    }
}

impl State {
    pub(super) fn targets_of_pods(&mut self, pods: &[Arc<Pod>], links: &[Link]) -> (Vec<Target>, WatchedFor) {
        self.places.retain(pods);
        self.pending = false;
        let mut targets = Vec::new();
        let mut watched_for = WatchedFor::new();
        for pod in pods.iter().filter(|pod| !pod.ended) {
            let keys: Vec<UnitKey> = self.selecting(pod);
            if keys.is_empty() {
                continue;
            }
            let name = format!("{}/{}", pod.namespace, pod.name);
            if pod.host_network {
                self.note(&keys, &Problem::HostNetworkPod { pod: name });
                continue;
            }
            match self.places.of(pod, links, &self.identity) {
                Place::Pending => self.pending = true,
                Place::Nowhere => {
                    let detail = "no veth of this node leads to it; its network is not watched".into();
                    self.note(&keys, &Problem::LoadFailed { what: format!("watching pod {name}"), detail });
                }
                Place::Behind(links) => {
                    for link in links {
                        watched_for.entry(link.index).or_default().extend(keys.iter().cloned());
                        targets.push(Target { interface: interface(&link), pod: Some(pod.clone()), behind: true });
                    }
                }
            }
        }
        self.pending |= self.places.postponed;
        (targets, watched_for)
    }

    /// Without a cluster, whoever asks nothing of a pod gets the machine.
    pub(super) fn targets_of_machine(&mut self, links: &[Link]) -> (Vec<Target>, WatchedFor) {
        let nobody = Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; write podSelector: {}".into(),
        };
        let (mut keys, mut nobodys) = (Vec::new(), Vec::new());
        for (key, unit) in self.outlet.wanted() {
            if self.identity.in_scope(&unit.wish.scope, &Owner::Host) == Some(true) {
                keys.push(key.clone());
            } else {
                nobodys.push(key.clone());
            }
        }
        nobodys.iter().for_each(|key| self.notes.add(key, nobody.clone()));
        if keys.is_empty() {
            return (Vec::new(), WatchedFor::new());
        }
        for link in links.iter().filter(|link| !self.links.contains(link)) {
            info!(interface = link.name, "watching an interface of the machine");
        }
        let targets =
            links.iter().map(|link| Target { interface: interface(link), pod: None, behind: link.kind == "veth" });
        let targets = targets.collect();
        (targets, links.iter().map(|link| (link.index, keys.clone())).collect())
    }

    fn selecting(&self, pod: &Arc<Pod>) -> Vec<UnitKey> {
        let owner =
            Owner::Pod(Arc::new(PodContainer { pod: pod.clone(), container: None, container_id: String::new() }));
        self.outlet
            .wanted()
            .filter(|(_, unit)| self.identity.in_scope(&unit.wish.scope, &owner) == Some(true))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Whoever named the pods hears of each that cannot be had. The stack hears of them together, and not of those in the
    /// host's network: they are on every node, and nobody asked for them.
    pub(super) fn note(&mut self, keys: &[UnitKey], problem: &Problem) {
        for key in keys {
            match self.outlet.units.get(key) {
                Some(unit) if unit.wish.session => self.notes.add(key, problem.clone()),
                Some(_) if !matches!(problem, Problem::HostNetworkPod { .. }) => self.notes.count(key, problem),
                _ => {}
            }
        }
    }
}

fn interface(link: &Link) -> Interface {
    Interface { index: link.index, name: link.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trilobite_crds::node::SourceKind;

    #[test]
    fn of_many_pods_that_cannot_be_had_the_stack_is_told_in_one_line() {
        let key = UnitKey { kind: SourceKind::ObservabilityStack, name: "default".into(), version: "1".into() };
        let mut notes = Notes::default();
        let of_pod = |pod: &str| Problem::LoadFailed { what: format!("watching pod {pod}"), detail: "no veth".into() };
        notes.count(&key, &of_pod("shop/a"));
        assert_eq!(notes.all(&key), [of_pod("shop/a")]);
        notes.count(&key, &of_pod("shop/b"));
        let [one] = &notes.all(&key)[..] else { panic!("not one") };
        assert!(one.message().contains("2 pods") && one.message().contains("shop/a"), "{}", one.message());
    }
}
