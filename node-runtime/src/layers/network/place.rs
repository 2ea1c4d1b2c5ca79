//! Which interfaces are whose: the host ends of the pods' veths, or without a cluster the machine's own.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::netlink::{self, Link};
use crate::identity::{Identity, Pod};

/// A pod that has a process but no veth is asked again for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Remembers where each pod was found.
#[derive(Default)]
pub(super) struct Places {
    found: HashMap<String, Vec<u32>>,
    first_asked: HashMap<String, Instant>,
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
            let still: Vec<Link> = links.iter().filter(|link| found.contains(&link.index)).cloned().collect();
            if still.len() == found.len() {
                return Place::Behind(still);
            }
            self.found.remove(&pod.uid);
        }
        let asked = *self.first_asked.entry(pod.uid.clone()).or_insert_with(Instant::now);
        let is_young = asked.elapsed() < PATIENCE;
        // Without a process it has not started, or has ended: a change of the pods asks again.
        let Some(pid) = identity.pid_in_pod(&pod.cgroup_uid) else {
            return if is_young { Place::Pending } else { Place::Behind(Vec::new()) };
        };
        // A process that is gone by now is no error: the next one is asked.
        let namespace = netlink::namespace_of(pid).ok().flatten();
        let behind: Vec<Link> = match namespace {
            Some(number) => links
                .iter()
                .filter(|link| link.kind == "veth" && link.peer_namespace == Some(number))
                .cloned()
                .collect(),
            None => Vec::new(),
        };
        if behind.is_empty() {
            return if is_young { Place::Pending } else { Place::Nowhere };
        }
        self.first_asked.remove(&pod.uid);
        self.found.insert(pod.uid.clone(), behind.iter().map(|link| link.index).collect());
        Place::Behind(behind)
    }

    /// Forgets pods that are gone.
    pub(super) fn retain(&mut self, pods: &[Arc<Pod>]) {
        let is_there = |uid: &String| pods.iter().any(|pod| pod.uid == *uid);
        self.found.retain(|uid, _| is_there(uid));
        self.first_asked.retain(|uid, _| is_there(uid));
    }
}

/// Interfaces that are up, but the loopback: the machine's own, and the host ends of veths, behind which others live.
pub(super) fn of_machine() -> io::Result<Vec<Link>> {
    let links = netlink::links()?;
    let is_watched = |link: &Link| link.up && !link.loopback && (link.kind != "veth" || link.peer_namespace.is_some());
    Ok(links.into_iter().filter(is_watched).collect())
}
