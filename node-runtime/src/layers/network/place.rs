//! Which interfaces are whose: the host ends of the pods' veths, or without a cluster the machine's own.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use super::netlink::{self, Link};
use crate::identity::{Identity, Pod};

/// A pod that has a process but no veth is asked again for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// It is asked again after an eighth of the time that it has been waited for, but not sooner and not later than this: to
/// look for its processes can cost a walk over the node's cgroups.
const AGAIN: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(4);

/// Remembers where each pod was found.
#[derive(Default)]
pub(super) struct Places {
    found: HashMap<String, Vec<Link>>,
    asked: HashMap<String, Asked>,
    /// Some pod was not asked for, because it was a moment ago.
    pub(super) postponed: bool,
}

struct Asked {
    first: Instant,
    next: Instant,
    /// It ran, and no veth led to it.
    nowhere: bool,
}

/// Where a pod is.
pub(super) enum Place {
    /// Behind these interfaces.
    Behind(Vec<Link>),
    /// Not yet; ask again soon.
    Pending,
    /// It runs, and no veth of this node leads to it.
    Nowhere,
}

impl Places {
    /// Where a pod is, among `links`, which are younger than the pod.
    pub(super) fn of(&mut self, pod: &Pod, links: &[Link], identity: &Identity) -> Place {
        if let Some(found) = self.found.get(&pod.uid) {
            if let Some(still) = all_of(found, links) {
                return Place::Behind(still);
            }
            self.found.remove(&pod.uid);
        }
        let now = Instant::now();
        let asked = self.asked.entry(pod.uid.clone()).or_insert(Asked { first: now, next: now, nowhere: false });
        let age = now.duration_since(asked.first);
        if now < asked.next {
            self.postponed = true;
            return asked.answer(age);
        }
        asked.next = now + (age / 8).clamp(*AGAIN.start(), *AGAIN.end());
        // Without a process it has not started, or is about to go: a change of the pods asks again.
        let pids = identity.pids_in_pod(&pod.cgroup_uid);
        asked.nowhere = !pids.is_empty();
        // A process that is gone by now is no error: the next one is asked.
        let namespace_of = |pid: &u32| netlink::namespace_of(*pid).ok().flatten();
        let Some(behind) = pids.iter().find_map(|pid| leading_to(namespace_of(pid)?, links)) else {
            return asked.answer(age);
        };
        self.asked.remove(&pod.uid);
        self.found.insert(pod.uid.clone(), behind.clone());
        Place::Behind(behind)
    }

    /// Forgets pods that are gone or have ended.
    pub(super) fn retain(&mut self, pods: &[Arc<Pod>]) {
        let there: HashSet<&str> = pods.iter().filter(|pod| !pod.ended).map(|pod| pod.uid.as_str()).collect();
        self.found.retain(|uid, _| there.contains(uid.as_str()));
        self.asked.retain(|uid, _| there.contains(uid.as_str()));
        self.postponed = false;
    }
}

impl Asked {
    /// What is said of a pod that was not found.
    fn answer(&self, age: Duration) -> Place {
        match (age < PATIENCE, self.nowhere) {
            (true, _) => Place::Pending,
            (false, true) => Place::Nowhere,
            (false, false) => Place::Behind(Vec::new()),
        }
    }
}

/// The veths that lead to a namespace. None where it has none here: a pod's process may have a namespace of its own inside
/// the pod's, as a container in a container has, and another process is asked then.
fn leading_to(namespace: i32, links: &[Link]) -> Option<Vec<Link>> {
    let leads_there = |link: &&Link| link.kind == "veth" && link.peer_namespace == Some(namespace);
    let behind: Vec<Link> = links.iter().filter(leads_there).cloned().collect();
    (!behind.is_empty()).then_some(behind)
}

/// The links as they are now; none unless all are there. An index alone says nothing: another interface may have got it.
fn all_of(known: &[Link], links: &[Link]) -> Option<Vec<Link>> {
    let is = |one: &Link, other: &Link| {
        (one.index, &one.name, one.peer_namespace) == (other.index, &other.name, other.peer_namespace)
    };
    known.iter().map(|known| links.iter().find(|link| is(known, link)).cloned()).collect()
}

/// Interfaces that are up, but the loopback: the machine's own, and the host ends of veths, behind which others live.
pub(super) fn of_machine(links: &[Link]) -> Vec<Link> {
    let is_watched = |link: &&Link| link.up && !link.loopback && (link.kind != "veth" || link.peer_namespace.is_some());
    links.iter().filter(is_watched).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(index: u32, name: &str, peer_namespace: i32) -> Link {
        Link { index, name: name.into(), kind: "veth".into(), peer_namespace: Some(peer_namespace), ..Link::default() }
    }

    #[test]
    fn an_interface_that_got_the_index_of_another_is_not_taken_for_it() {
        let known = [veth(7, "veth0", 3)];
        assert!(all_of(&known, &[veth(6, "veth9", 9), veth(7, "veth0", 3)]).is_some());
        for other in [veth(7, "veth1", 3), veth(7, "veth0", 4), veth(8, "veth0", 3)] {
            assert!(all_of(&known, &[other]).is_none());
        }
    }

    #[test]
    fn who_is_not_found_is_waited_for_and_then_said_to_be_nowhere_if_it_runs() {
        let now = Instant::now();
        let asked = |nowhere| Asked { first: now, next: now, nowhere };
        assert!(matches!(asked(true).answer(Duration::ZERO), Place::Pending));
        assert!(matches!(asked(true).answer(PATIENCE), Place::Nowhere));
        assert!(matches!(asked(false).answer(PATIENCE), Place::Behind(links) if links.is_empty()));
    }
}
