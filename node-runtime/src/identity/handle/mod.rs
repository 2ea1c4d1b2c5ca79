//! The handle on identity that every layer has: a lock around the index, the programs that feed it while somebody needs
//! them, and the kernel's map of cgroups, which follows the index.

mod feed;

use std::{
    collections::BTreeMap,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::watch;
use trilobite_crds::node::PodScope;
use trilobite_node_ebpf::{limits::SLOTS_MAX, process::CgroupState};

use feed::drain_all;

use super::{
    ExecKey, Listener, Owner, Pace, Pod, Process,
    changes::tell,
    follow::{Follow, Losses},
    index::Index,
    lease::{ProcessLease, Slot},
    procfs::Proc,
    slots::Namespaces,
    walk,
    written::Written,
};
use crate::{
    kernel::{Facts, Map, cgroup},
    report::{Ledger, Place, Problem},
};

/// The handle.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<Shared>);

pub(super) struct Shared {
    facts: Arc<Facts>,
    ledger: Ledger,
    root: PathBuf,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    proc: Proc,
    pace: OnceLock<Pace>,
}

struct State {
    index: Index,
    users: u32,
    map: Option<Arc<Map>>,
    written: Written,
    cgroups: Option<Follow>,
    processes: Option<Follow>,
    ring_bytes: u32,
    process_users: u32,
    listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
    losses: Losses,
}

impl Identity {
    /// Nothing is loaded yet. `cluster` says whether pods can be known at all.
    pub fn new(facts: Arc<Facts>, ledger: Ledger, cluster: bool) -> Self {
        let inside = facts.node_cgroup.and_then(|inode| cgroup::path_of(&facts.cgroup_root, inode)).unwrap_or_default();
        let root = facts.cgroup_root.join(inside);
        let id = std::fs::metadata(&root).map_or(1, |data| data.ino());
        let state = State {
            index: Index::new(id, cluster),
            users: 0,
            map: None,
            written: Written::default(),
            cgroups: None,
            processes: None,
            ring_bytes: 0,
            process_users: 0,
            listeners: BTreeMap::new(),
            next_listener: 0,
            losses: Losses::default(),
        };
        let changed = watch::Sender::new(0);
        Self(Arc::new(Shared {
            facts,
            ledger,
            root,
            state: Mutex::new(state),
            changed,
            proc: Proc::here(),
            pace: OnceLock::new(),
        }))
    }

    /// Rings are read no faster than this lets them be, while they have room. For the first who sets it.
    pub fn set_pace(&self, pace: Pace) {
        // Another one would be of another agent in the same process.
        let _ = self.0.pace.set(pace);
    }

    /// To whom a cgroup belongs.
    pub fn owner(&self, cgroup: u64) -> Owner {
        self.0.state().index.owner(cgroup)
    }

    /// The image of a key, while it is kept.
    pub fn process(&self, key: ExecKey) -> Option<Arc<Process>> {
        self.0.state().index.processes.get(key)
    }

    /// Pods of this node.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.state().index.pods()
    }

    /// Whether an owner is in a scope; none while it is undecided.
    pub fn in_scope(&self, scope: &PodScope, owner: &Owner) -> Option<bool> {
        self.0.state().index.in_scope(scope, owner)
    }

    /// Whether a pod is in a scope; not while its namespace's labels are unknown.
    pub fn pod_in_scope(&self, scope: &PodScope, pod: &Pod) -> bool {
        self.0.state().index.pod_in_scope(scope, pod)
    }

    /// There is a cluster, so that pods can be known.
    pub fn has_cluster(&self) -> bool {
        self.0.state().index.cluster
    }

    /// Goes up when pods, namespaces or cgroups change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// All pods of this node, from the watch.
    pub fn set_pods(&self, pods: Vec<Arc<Pod>>) {
        let mut state = self.0.state();
        state.index.set_pods(pods);
        self.0.settle(&mut state);
    }

    /// Labels of all namespaces, from the watch.
    pub fn set_namespaces(&self, namespaces: Namespaces) {
        let mut state = self.0.state();
        state.index.set_namespaces(namespaces);
        self.0.settle(&mut state);
    }

    /// Labels of all namespaces, as far as they are known: what to keep for a start without the API server.
    pub fn namespaces(&self) -> Namespaces {
        self.0.state().index.namespaces().clone()
    }

    /// Some scope in force asks for labels of namespaces.
    pub fn need_namespaces(&self) -> bool {
        self.0.state().index.slots.need_namespaces()
    }

    /// Follows fork, exec and exit while the lease lives. `ring_bytes`, where given, is the ring's size from now on: the
    /// programs with the new ring are attached before the old ones leave.
    pub fn follow_processes(
        &self,
        ring_bytes: Option<u32>,
        listener: Option<Listener>,
    ) -> Result<ProcessLease, Problem> {
        let mut state = self.0.state();
        self.0.hold(&mut state)?;
        let bytes = ring_bytes.unwrap_or(if state.ring_bytes == 0 { DEFAULT_RING_BYTES } else { state.ring_bytes });
        let loaded = if state.ring_bytes == bytes { Ok(Vec::new()) } else { self.0.load_processes(&mut state, bytes) };
        let changes = match loaded {
            Ok(changes) => changes,
            Err(problem) => {
                self.0.release(&mut state);
                return Err(problem);
            }
        };
        // What the old programs had still to say is for those who listened to them.
        let listeners = state.listeners();
        let number = state.next_listener;
        state.next_listener += 1;
        state.process_users += 1;
        if let Some(listener) = listener {
            state.listeners.insert(number, listener);
        }
        drop(state);
        tell(&listeners, &changes);
        Ok(ProcessLease::new(self.0.clone(), number))
    }

    /// A bit for the pods in a scope, kept up to date in the kernel while the slot lives.
    pub fn select(&self, scope: &PodScope) -> Result<Slot, Problem> {
        let mut state = self.0.state();
        self.0.hold(&mut state)?;
        let Some(bit) = state.index.slots.take(scope) else {
            self.0.release(&mut state);
            return Err(Problem::TooManySelections { limit: SLOTS_MAX });
        };
        self.0.settle(&mut state);
        Ok(Slot::new(self.0.clone(), bit))
    }

    /// The kernel's map of cgroups, to share with an object; there while a slot or a lease lives.
    pub fn cgroups_fd(&self) -> Option<OwnedFd> {
        self.0.state().map.as_ref()?.fd().try_clone_to_owned().ok()
    }

    /// Some processes of a pod, by what cgroup paths call the pod. Not all are in the pod's own namespaces.
    pub fn pids_in_pod(&self, pod_cgroup_uid: &str) -> Vec<u32> {
        let path = {
            let mut state = self.0.state();
            if state.cgroups.is_none() || state.index.pod_path(pod_cgroup_uid).is_none() {
                state.index.walked(&walk::walk(&self.0.root));
            }
            state.index.pod_path(pod_cgroup_uid)
        };
        path.map_or_else(Vec::new, |path| walk::some_processes(&self.0.root.join(path.trim_start_matches('/'))))
    }

    /// Reads the records of processes that are there now, so that what another ring says can be understood.
    pub fn catch_up(&self) {
        let (changes, listeners) = {
            let mut state = self.0.state();
            let Some(ring) = state.processes.as_ref().map(|follow| follow.ring.clone()) else { return };
            (drain_all(&mut state, &ring), state.listeners())
        };
        tell(&listeners, &changes);
    }

    /// Records lost in the kernel since the start.
    pub fn losses(&self) -> Losses {
        let mut state = self.0.state();
        self.0.count_losses(&mut state);
        state.losses
    }
}

/// Ring of processes where nobody said a size.
const DEFAULT_RING_BYTES: u32 = 256 * 1024;

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the kernel's map in line with the index, and wakes whoever waits for either.
    fn settle(&self, state: &mut State) {
        self.write(state);
        self.changed.send_modify(|count| *count += 1);
    }

    fn write(&self, state: &mut State) {
        if let Some(map) = state.map.clone() {
            let wanted = state.index.states();
            let refused = state.written.bring_in_line(
                wanted,
                |id| map.delete(&id.to_ne_bytes()),
                |id, cgroup| map.set(&id.to_ne_bytes(), &bytes(cgroup)),
            );
            self.ledger.lost(Place::CgroupMap, "", refused);
        }
    }
}

impl State {
    fn listeners(&self) -> Vec<Listener> {
        self.listeners.values().cloned().collect()
    }
}

fn bytes(state: &CgroupState) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&state.decided.to_ne_bytes());
    bytes[8..16].copy_from_slice(&state.wanted.to_ne_bytes());
    bytes[16..20].copy_from_slice(&state.flags.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_namespace(number: u32) -> PodScope {
        PodScope { namespace: Some(format!("reef-{number}")), ..PodScope::default() }
    }

    #[test]
    fn the_65th_distinct_selection_is_refused_by_the_limit_and_an_equal_one_is_not() {
        let identity = Identity::new(Arc::default(), Ledger::default(), true);
        // Somebody has loaded the programs already.
        identity.0.state().users = 1;
        let slots: Vec<Slot> = (0..SLOTS_MAX).map(|number| identity.select(&of_namespace(number)).unwrap()).collect();
        let refused = identity.select(&of_namespace(SLOTS_MAX)).err();
        assert_eq!(refused, Some(Problem::TooManySelections { limit: 64 }));
        assert!(identity.select(&of_namespace(0)).is_ok());
        drop(slots);
        assert!(identity.select(&of_namespace(SLOTS_MAX)).is_ok());
    }
}
