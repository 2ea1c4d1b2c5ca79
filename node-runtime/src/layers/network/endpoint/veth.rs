//! Finds the host end of each pod's veth, or without a cluster the machine's own interfaces.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    identity::{IdentityService, Pod},
    layers::network::netlink::{self, NetworkLink},
};

/// How long a veth is looked for before a running pod is reported to have none.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// A lookup is repeated after an eighth of the time since the first one, within these bounds: to find a pod's processes can
/// cost a walk over the node's cgroups.
const RETRY_AFTER: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(4);

/// Remembers where each pod was found, by the pod's uid.
#[derive(Default)]
pub(in crate::layers::network) struct VethLocator {
    located: HashMap<String, Vec<NetworkLink>>,
    attempts: HashMap<String, LookupAttempt>,
    /// Some lookup was too soon to be repeated.
    pub(in crate::layers::network) postponed: bool,
}

struct LookupAttempt {
    first: Instant,
    next: Instant,
    /// The pod has processes.
    runs: bool,
}

pub(in crate::layers::network) enum VethLocation {
    /// The host ends of the pod's veths.
    Found(Vec<NetworkLink>),
    /// Not found yet; repeat the lookup soon.
    Pending,
    /// The pod runs, and no veth of this node leads to it.
    NoVeth,
}

impl VethLocator {
    /// Where a pod is among `links`, which were listed after the pod.
    pub(in crate::layers::network) fn locate(
        &mut self,
        pod: &Pod,
        links: &[NetworkLink],
        identity: &IdentityService,
    ) -> VethLocation {
        if let Some(located) = self.located.get(&pod.uid) {
            if let Some(current) = current_links(located, links) {
                return VethLocation::Found(current);
            }
            self.located.remove(&pod.uid);
        }
        let now = Instant::now();
        let first = || LookupAttempt { first: now, next: now, runs: false };
        let attempt = self.attempts.entry(pod.uid.clone()).or_insert_with(first);
        let age = now.duration_since(attempt.first);
        if now < attempt.next {
            self.postponed = true;
            return attempt.location(age);
        }
        attempt.next = now + (age / 8).clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end());
        // A pod without a process has not started or is about to go; its next change triggers another lookup.
        let pids = identity.pids_in_pod(&pod.cgroup_uid);
        attempt.runs = !pids.is_empty();
        // A process may have ended by now; then the next one is asked.
        let namespace_of = |pid: &u32| netlink::namespace_of(*pid).ok().flatten();
        let Some(found) = pids.iter().find_map(|pid| links_into(namespace_of(pid)?, links)) else {
            return attempt.location(age);
        };
        self.attempts.remove(&pod.uid);
        self.located.insert(pod.uid.clone(), found.clone());
        VethLocation::Found(found)
    }

    /// Forgets pods that are deleted or have ended.
    pub(in crate::layers::network) fn retain(&mut self, pods: &[Arc<Pod>]) {
        let alive: HashSet<&str> = pods.iter().filter(|pod| !pod.ended).map(|pod| pod.uid.as_str()).collect();
        self.located.retain(|uid, _| alive.contains(uid.as_str()));
        self.attempts.retain(|uid, _| alive.contains(uid.as_str()));
        self.postponed = false;
    }
}

impl LookupAttempt {
    /// The answer for a pod without a known veth, `age` after the first lookup.
    fn location(&self, age: Duration) -> VethLocation {
        match (age < GIVE_UP_AFTER, self.runs) {
            (true, _) => VethLocation::Pending,
            (false, true) => VethLocation::NoVeth,
            (false, false) => VethLocation::Found(Vec::new()),
        }
    }
}

/// The veths that lead to a namespace, if any: a process may be in a namespace inside the pod's, as with a container in a
/// container, and then another process has to be asked.
fn links_into(namespace: i32, links: &[NetworkLink]) -> Option<Vec<NetworkLink>> {
    let leads_there = |link: &&NetworkLink| link.kind == "veth" && link.peer_namespace == Some(namespace);
    let found: Vec<NetworkLink> = links.iter().filter(leads_there).cloned().collect();
    (!found.is_empty()).then_some(found)
}

/// The current state of known links; none unless all still exist. The index alone is no proof: a new interface may reuse it.
fn current_links(known: &[NetworkLink], links: &[NetworkLink]) -> Option<Vec<NetworkLink>> {
    let same = |one: &NetworkLink, other: &NetworkLink| {
        (one.index, &one.name, one.peer_namespace) == (other.index, &other.name, other.peer_namespace)
    };
    known.iter().map(|known| links.iter().find(|link| same(known, link)).cloned()).collect()
}

/// Interfaces that are up, without the loopback: the machine's own, and the host ends of veths.
pub(in crate::layers::network) fn machine_links(links: &[NetworkLink]) -> Vec<NetworkLink> {
    let is_watched =
        |link: &&NetworkLink| link.up && !link.loopback && (link.kind != "veth" || link.peer_namespace.is_some());
    links.iter().filter(is_watched).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(index: u32, name: &str, peer_namespace: i32) -> NetworkLink {
        NetworkLink {
            index,
            name: name.into(),
            kind: "veth".into(),
            peer_namespace: Some(peer_namespace),
            ..NetworkLink::default()
        }
    }

    #[test]
    fn interface_that_reuses_an_index_is_not_mistaken() {
        let known = [veth(7, "veth0", 3)];
        assert!(current_links(&known, &[veth(6, "veth9", 9), veth(7, "veth0", 3)]).is_some());
        for other in [veth(7, "veth1", 3), veth(7, "veth0", 4), veth(8, "veth0", 3)] {
            assert!(current_links(&known, &[other]).is_none());
        }
    }

    #[test]
    fn running_pod_without_veth_is_reported_after_the_timeout() {
        let now = Instant::now();
        let attempt = |runs| LookupAttempt { first: now, next: now, runs };
        assert!(matches!(attempt(true).location(Duration::ZERO), VethLocation::Pending));
        assert!(matches!(attempt(true).location(GIVE_UP_AFTER), VethLocation::NoVeth));
        assert!(matches!(attempt(false).location(GIVE_UP_AFTER), VethLocation::Found(links) if links.is_empty()));
    }
}
