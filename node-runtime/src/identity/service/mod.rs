//! `IdentityService`, the handle that every layer has: a lock around the index, the BPF programs that fill the index while any
//! layer uses it, and the kernel's map of cgroups, which follows the index.

mod attach;
mod follow;
mod lease;
mod metrics;
mod rings;
mod state;

use std::{
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::Arc,
};

use prometheus_client::collector::Collector;
use tokio::sync::watch;
use trilobite_crds::node::PodScope;
use trilobite_node_ebpf::CLASSES_MAX;

use self::{metrics::CutArguments, rings::drain_process_ring, state::Inner};
use super::{
    ExecKey, Owner, Pod, Process, ProcessChange, ProcessListener,
    cgroup::filesystem::{list_cgroups, sample_processes},
    classes::ClassListener,
    index::Index,
    process::{FollowConditions, KnownProcesses, notify_listeners},
    programs::KernelLosses,
    selection::{Namespaces, ScopesFull},
};
use crate::{
    kernel::{Facts, Map, cgroup},
    loss::Ledger,
    problem::Problem,
};

pub use lease::{ClassSubscription, ProcessLease, ScopeLease};
pub use state::Throttle;

/// Size of the process ring where no layer asks for one.
const DEFAULT_RING_BYTES: u32 = 256 * 1024;

/// The kernel's maps, to share with an object.
pub struct SelectionMaps {
    /// The class of each cgroup.
    pub cgroups: OwnedFd,
    /// The answers of each class.
    pub classes: OwnedFd,
}

#[derive(Clone)]
pub struct IdentityService(Arc<Inner>);

impl IdentityService {
    /// Attaches nothing yet. `cluster` says whether pods can be known at all.
    pub fn new(facts: Arc<Facts>, ledger: Ledger, cluster: bool) -> Self {
        let inside = facts.node_cgroup.and_then(|inode| cgroup::path_of(&facts.cgroup_root, inode)).unwrap_or_default();
        let cgroup_dir = facts.cgroup_root.join(inside);
        let root = std::fs::metadata(&cgroup_dir).map_or(1, |data| data.ino());
        Self(Arc::new(Inner::new(facts, ledger, cgroup_dir, Index::new(root, cluster))))
    }

    /// Delays the reading of rings, while they have room. Only the first call has an effect.
    pub fn set_throttle(&self, throttle: Throttle) {
        // A second one would come from another agent in the same process.
        let _ = self.0.throttle.set(throttle);
    }

    /// The owner of a cgroup.
    pub fn owner(&self, cgroup: u64) -> Owner {
        self.0.state().index.owner(cgroup)
    }

    /// Cgroups of the pods that are wanted, also of those that were deleted lately.
    pub fn cgroups_of(&self, is_wanted: impl Fn(&Pod) -> bool) -> Vec<u64> {
        self.0.state().index.cgroups_of(is_wanted)
    }

    /// The image of a key, while the cache has it.
    pub fn process(&self, key: ExecKey) -> Option<Arc<Process>> {
        self.0.state().index.processes.get(key)
    }

    /// Pods of this node.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.state().index.pods()
    }

    /// Whether an owner is in a scope; none while that is unknown.
    pub fn in_scope(&self, scope: &PodScope, owner: &Owner) -> Option<bool> {
        self.0.state().index.in_scope(scope, owner)
    }

    /// Whether a pod is in a scope; false while the labels of its namespace are unknown.
    pub fn pod_in_scope(&self, scope: &PodScope, pod: &Pod) -> bool {
        self.0.state().index.pod_in_scope(scope, pod)
    }

    /// How many pods of this node are in a scope now.
    pub fn count_pods(&self, scope: &PodScope) -> usize {
        self.0.state().index.count_pods(scope)
    }

    /// There is a cluster, so that pods can be known.
    pub fn has_cluster(&self) -> bool {
        self.0.state().index.cluster
    }

    /// A counter that is incremented when pods, namespaces or cgroups change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Replaces all pods of this node.
    pub fn set_pods(&self, pods: Vec<Arc<Pod>>) {
        let mut state = self.0.state();
        state.index.set_pods(pods);
        self.0.publish(&mut state);
    }

    /// Replaces the labels of all namespaces.
    pub fn set_namespaces(&self, namespaces: Namespaces) {
        let mut state = self.0.state();
        state.index.set_namespaces(namespaces);
        self.0.publish(&mut state);
    }

    /// Replaces all cgroups: id, parent, name, parents first; 1 is the node's own.
    #[cfg(test)]
    pub(crate) fn set_cgroups(&self, cgroups: &[(u64, u64, String)]) {
        self.0.state().index.set_cgroups(cgroups);
    }

    /// The known labels of namespaces, which the agent also saves for a start without the API server.
    pub fn namespaces(&self) -> Namespaces {
        self.0.state().index.namespaces().clone()
    }

    /// Some active selection depends on the labels of namespaces.
    pub fn needs_namespaces(&self) -> bool {
        self.0.state().index.needs_namespaces()
    }

    /// Follows fork, exec and exit while the lease lives. `ring_bytes`, if given, is the new size of the ring: programs with
    /// a new ring are attached before the old ones are detached.
    pub fn follow_processes(
        &self,
        ring_bytes: Option<u32>,
        listener: Option<ProcessListener>,
    ) -> Result<ProcessLease, Problem> {
        let mut state = self.0.state();
        self.0.acquire_cgroups(&mut state)?;
        let bytes = ring_bytes.unwrap_or(if state.ring_bytes == 0 { DEFAULT_RING_BYTES } else { state.ring_bytes });
        let attached =
            if state.ring_bytes == bytes { Ok(Vec::new()) } else { self.0.attach_processes(&mut state, bytes) };
        let changes = match attached {
            Ok(changes) => changes,
            Err(problem) => {
                self.0.release_cgroups(&mut state);
                return Err(problem);
            }
        };
        // The last changes of the old programs are for the listeners that they had.
        let listeners = state.listeners();
        let number = state.next_listener;
        state.next_listener += 1;
        state.process_users += 1;
        if let Some(listener) = listener {
            state.listeners.insert(number, listener);
        }
        drop(state);
        notify_listeners(&listeners, &changes);
        Ok(ProcessLease { inner: self.0.clone(), listener: number })
    }

    /// An id for a scope, whose answers the kernel's classes have while the lease lives.
    pub fn select(&self, scope: &PodScope) -> Result<ScopeLease, Problem> {
        let mut state = self.0.state();
        self.0.acquire_cgroups(&mut state)?;
        let id = match state.index.acquire_scope(scope) {
            Ok(id) => id,
            Err(ScopesFull { limit, is_namespaced }) => {
                self.0.release_cgroups(&mut state);
                return Err(Problem::TooManySelections { limit, is_namespaced });
            }
        };
        let needed = state.index.needed_classes();
        if needed >= CLASSES_MAX as usize {
            state.index.release_scope(id);
            self.0.release_cgroups(&mut state);
            return Err(Problem::TooManyClasses { needed, limit: CLASSES_MAX - 1 });
        }
        self.0.publish_scope(&mut state);
        Ok(ScopeLease { inner: self.0.clone(), id })
    }

    /// Calls `listener` with every class in use, and from then on before a cgroup gets a class, while the subscription lives.
    pub fn subscribe_classes(&self, listener: ClassListener) -> ClassSubscription {
        let listener = self.0.state().class_writer.add_listener(listener);
        ClassSubscription { inner: self.0.clone(), listener }
    }

    /// The kernel's maps of cgroups and classes, to share with an object; none without a lease of either kind.
    pub fn selection_maps(&self) -> Option<SelectionMaps> {
        let maps = self.0.state().selection_maps.clone()?;
        let shared = |map: &Map| map.fd().try_clone_to_owned().ok();
        Some(SelectionMaps { cgroups: shared(&maps.cgroups)?, classes: shared(&maps.classes)? })
    }

    /// The kernel's map of processes, to share with an object; none without a process lease.
    pub fn process_map(&self) -> Option<OwnedFd> {
        let map = self.0.state().processes.as_ref()?.process_map().ok()?;
        map.fd().try_clone_to_owned().ok()
    }

    /// Replaces the conditions that processes inherit. When it returns, the running processes have been classified.
    pub fn follow_conditions(&self, wanted: &FollowConditions) -> Result<(), Problem> {
        let mut changes = Vec::new();
        let mut state = self.0.state();
        let done = self.0.follow(&mut state, wanted, &mut changes);
        let listeners = state.listeners();
        drop(state);
        notify_listeners(&listeners, &changes);
        done
    }

    /// Some processes of a pod, given its uid in cgroup paths. Not all are in the pod's own namespaces.
    pub fn pids_in_pod(&self, pod_cgroup_uid: &str) -> Vec<u32> {
        {
            let mut state = self.0.state();
            if state.cgroups.is_none() || state.index.pod_path(pod_cgroup_uid).is_none() {
                state.index.set_cgroups(&list_cgroups(&self.0.cgroup_dir));
            }
        }
        self.pod_folder(pod_cgroup_uid).map_or_else(Vec::new, |folder| sample_processes(&folder))
    }

    /// The folder of a pod's own cgroup, given its uid in cgroup paths.
    pub fn pod_folder(&self, pod_cgroup_uid: &str) -> Option<PathBuf> {
        let path = self.0.state().index.pod_path(pod_cgroup_uid)?;
        Some(self.0.cgroup_dir.join(path.trim_start_matches('/')))
    }

    /// Applies process records in the format of the kernel, as if they had come from the ring.
    pub fn apply_process_records(&self, records: &[&[u8]]) -> Vec<ProcessChange> {
        self.0.apply_process_records(|each| records.iter().for_each(|record| each(record)))
    }

    /// Images that an earlier agent has seen on this node; those of another boot are left out.
    pub fn set_known_processes(&self, known: KnownProcesses) {
        self.0.state().known_processes = known.of_boot(&self.0.facts.boot_id);
    }

    /// Images to be kept for a later agent: of processes that began before `time` on the boot clock, and of parents.
    pub fn known_processes(&self, time: u64) -> KnownProcesses {
        self.0.known_processes(&self.0.state(), time)
    }

    /// Reads the process records that are in the ring now, so that records of another ring find their processes.
    pub fn catch_up(&self) {
        let (changes, listeners) = {
            let mut state = self.0.state();
            let Some(ring) = state.processes.as_ref().map(|programs| programs.ring.clone()) else { return };
            (drain_process_ring(&mut state, &ring), state.listeners())
        };
        notify_listeners(&listeners, &changes);
    }

    /// What `/metrics` shows of identity.
    pub fn metrics(&self) -> Box<dyn Collector> {
        Box::new(CutArguments::new(&self.0))
    }

    /// Records lost in the kernel since the start.
    pub fn losses(&self) -> KernelLosses {
        let mut state = self.0.state();
        self.0.count_losses(&mut state);
        state.losses
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::SCOPES_MAX;

    use super::*;

    fn with_label(number: u32) -> PodScope {
        let labels = serde_json::json!({"reef": number.to_string()});
        serde_json::from_value(serde_json::json!({"podSelector": {"matchLabels": labels}})).unwrap()
    }

    #[test]
    fn scope_beyond_the_limit_is_refused_unless_it_equals_another() {
        let identity = IdentityService::new(Arc::default(), Ledger::default(), true);
        // As if the programs were attached.
        identity.0.state().users = 1;
        let leases: Vec<ScopeLease> =
            (0..SCOPES_MAX).map(|number| identity.select(&with_label(number)).unwrap()).collect();
        let refused = identity.select(&with_label(SCOPES_MAX)).err();
        assert_eq!(refused, Some(Problem::TooManySelections { limit: 1024, is_namespaced: false }));
        assert!(identity.select(&with_label(0)).is_ok());
        drop(leases);
        assert!(identity.select(&with_label(SCOPES_MAX)).is_ok());
    }

    #[test]
    fn scope_that_needs_too_many_classes_is_refused() {
        let identity = IdentityService::new(Arc::default(), Ledger::default(), true);
        identity.0.state().users = 1;
        let pod = |number: u32| {
            let uid = format!("{number:08x}-93a4-4d1b-8f0a-1f7a5a0c9e11");
            let labels = (0..11).map(|bit| (format!("bit{bit}"), (number >> bit & 1).to_string())).collect();
            Arc::new(Pod { uid: uid.clone(), cgroup_uid: uid, namespace: "shop".into(), labels, ..Pod::default() })
        };
        let pods: Vec<Arc<Pod>> = (0..2048).map(pod).collect();
        let mut cgroups = vec![(2, 1, "kubepods".to_owned())];
        cgroups.extend((3..).zip(&pods).map(|(id, pod)| (id, 2, format!("pod{}", pod.uid))));
        identity.0.state().index.set_cgroups(&cgroups);
        identity.set_pods(pods);
        let with_bit = |bit: u32| -> PodScope {
            let labels = serde_json::json!({format!("bit{bit}"): "1"});
            serde_json::from_value(serde_json::json!({"podSelector": {"matchLabels": labels}})).unwrap()
        };
        // Ten bits are 1,024 different answers; the host and pods that are not known have others.
        let leases: Vec<ScopeLease> = (0..9).map(|bit| identity.select(&with_bit(bit)).unwrap()).collect();
        let refused = identity.select(&with_bit(9)).err();
        assert_eq!(refused, Some(Problem::TooManyClasses { needed: 1025, limit: 1023 }));
        drop(leases);
        assert!(identity.select(&with_bit(9)).is_ok());
    }
}
