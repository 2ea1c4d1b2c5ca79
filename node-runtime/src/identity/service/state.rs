//! What identity holds behind its lock: the index, the kernel's map, and the programs with their users.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::{
    identity::{
        cgroup::bundle::{node_root, read_name},
        classes::{ClassWriter, SelectionKernelMaps},
        decode::ArgumentPieces,
        index::Index,
        process::{KnownProcesses, ProcessListener, follow::ActiveConditions, procfs::ProcReader},
        programs::{AttachedPrograms, KernelLosses},
    },
    kernel::Facts,
    loss::{Ledger, LossPoint},
};

/// Resolves when the consumers of changes have room for more, or after a moment.
pub type Throttle = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Shared by the service, its leases and the tasks that read the rings.
pub(super) struct Inner {
    pub(super) facts: Arc<Facts>,
    pub(super) ledger: Ledger,
    /// Directory of the node's own cgroup.
    pub(super) cgroup_dir: PathBuf,
    pub(super) proc: ProcReader,
    pub(super) throttle: OnceLock<Throttle>,
    /// Incremented when pods, namespaces or cgroups change.
    pub(super) changed: watch::Sender<u64>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) index: Index,
    pub(super) argument_pieces: ArgumentPieces,
    /// Leases of any kind; the cgroup programs are attached while there are some.
    pub(super) users: u32,
    pub(super) selection_maps: Option<Arc<SelectionKernelMaps>>,
    pub(super) class_writer: ClassWriter,
    pub(super) cgroups: Option<AttachedPrograms>,
    /// Process leases; the process programs are attached while there are some.
    pub(super) process_users: u32,
    pub(super) processes: Option<AttachedPrograms>,
    pub(super) ring_bytes: u32,
    pub(super) followed: ActiveConditions,
    pub(super) listeners: BTreeMap<u64, ProcessListener>,
    pub(super) next_listener: u64,
    pub(super) losses: KernelLosses,
    /// Images that were seen before processes were followed; empty while they are.
    pub(super) known_processes: KnownProcesses,
}

impl Inner {
    pub(super) fn new(facts: Arc<Facts>, ledger: Ledger, cgroup_dir: PathBuf, index: Index) -> Self {
        let state = State {
            index,
            argument_pieces: ArgumentPieces::default(),
            users: 0,
            selection_maps: None,
            class_writer: ClassWriter::default(),
            cgroups: None,
            process_users: 0,
            processes: None,
            ring_bytes: 0,
            followed: ActiveConditions::default(),
            listeners: BTreeMap::new(),
            next_listener: 0,
            losses: KernelLosses::default(),
            known_processes: KnownProcesses::default(),
        };
        Self {
            facts,
            ledger,
            cgroup_dir,
            proc: ProcReader::new(),
            throttle: OnceLock::new(),
            changed: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Images to be kept over a restart: of processes that began before `time`, and of parents.
    pub(super) fn known_processes(&self, state: &State, time: u64) -> KnownProcesses {
        if state.processes.is_none() {
            return state.known_processes.clone();
        }
        KnownProcesses::new(&self.facts.boot_id, state.index.processes.lasting(time))
    }

    /// Writes the index to the kernel's maps, and wakes the tasks that wait for a change.
    pub(super) fn publish(&self, state: &mut State) {
        self.sync_classes(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The same for a new scope. Cgroups that were made meanwhile, below one whose class has changed, are brought up to date too.
    pub(super) fn publish_scope(&self, state: &mut State) {
        self.publish(state);
        let ring = state.cgroups.as_ref().map(|programs| programs.ring.clone());
        if ring.is_some_and(|ring| self.apply_cgroup_records(state, &ring)) {
            self.publish(state);
        }
    }

    pub(super) fn sync_classes(&self, state: &mut State) {
        if let Some(maps) = state.selection_maps.clone() {
            for container in state.index.unnamed_containers() {
                let name = read_name(&node_root(), &container);
                state.index.set_bundle(container, name);
            }
            let (desired, scopes) = (state.index.desired_groups(), state.index.existing_scopes());
            let refused = state.class_writer.sync(&maps, &desired, &scopes);
            self.ledger.record_loss(LossPoint::CgroupMap, "", refused);
        }
    }

    /// Reads the kernel's loss counters into the ledger and returns the new losses.
    pub(super) fn count_losses(&self, state: &mut State) -> KernelLosses {
        let mut new = KernelLosses::default();
        for programs in [&mut state.cgroups, &mut state.processes].into_iter().flatten() {
            new.add(&programs.new_losses());
        }
        self.record_losses(state, &new);
        new
    }

    pub(super) fn record_losses(&self, state: &mut State, new: &KernelLosses) {
        state.losses.add(new);
        for (kind, count) in [("fork", new.fork), ("exec", new.exec), ("exit", new.exit), ("cgroup", new.cgroup)] {
            self.ledger.record_loss_of_kind(LossPoint::IdentityRing, "", kind, count);
        }
        let evicted = state.index.processes.take_evicted();
        self.ledger.record_loss(LossPoint::ProcessMap, "", new.map_full + evicted);
    }
}

impl State {
    pub(super) fn listeners(&self) -> Vec<ProcessListener> {
        self.listeners.values().cloned().collect()
    }
}
