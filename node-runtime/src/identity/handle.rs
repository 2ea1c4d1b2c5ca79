//! The handle on identity that every layer has: a lock around the index, the programs that feed it while somebody needs
//! them, and the kernel's map of cgroups, which follows the index.

use std::{
    collections::{BTreeMap, HashSet},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::watch;
use trilobite_crds::node::PodScope;
use trilobite_node_ebpf::process::CgroupState;

use super::{
    ExecKey, Listener, Owner, Pod, Process, ProcessChange, cgroup_map,
    changes::{enter, tell},
    decode,
    follow::{self, Follow, Losses},
    index::Index,
    lease::{ProcessLease, Slot},
    procfs::Proc,
    slots::Namespaces,
    walk,
    written::Written,
};
use crate::{
    kernel::{Facts, Map, Ring, cgroup, clock},
    report::{Ledger, Place, Problem},
};

/// How often losses are read, and what they made unknown is looked up.
const EVERY: Duration = Duration::from_secs(1);

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
        Self(Arc::new(Shared { facts, ledger, root, state: Mutex::new(state), changed, proc: Proc::here() }))
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
            return Err(Problem::LoadFailed {
                what: "selecting pods".into(),
                detail: "all 64 selections of this node are in use; give several resources the same selector".into(),
            });
        };
        self.0.settle(&mut state);
        Ok(Slot::new(self.0.clone(), bit))
    }

    /// The kernel's map of cgroups, to share with an object; there while a slot or a lease lives.
    pub fn cgroups_fd(&self) -> Option<OwnedFd> {
        self.0.state().map.as_ref()?.fd().try_clone_to_owned().ok()
    }

    /// Any process of a pod, by what cgroup paths call the pod.
    pub fn pid_in_pod(&self, pod_cgroup_uid: &str) -> Option<u32> {
        let path = {
            let mut state = self.0.state();
            if state.cgroups.is_none() || state.index.pod_path(pod_cgroup_uid).is_none() {
                state.index.walked(&walk::walk(&self.0.root));
            }
            state.index.pod_path(pod_cgroup_uid)?
        };
        walk::any_process(&self.0.root.join(path.trim_start_matches('/')))
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

    /// One more user of the cgroups; the first one loads them.
    fn hold(self: &Arc<Self>, state: &mut State) -> Result<(), Problem> {
        if state.users == 0 {
            let map = cgroup_map::make(&self.facts)?;
            let mut follow = follow::cgroups(&self.facts, map.fd().as_fd())?;
            follow.task = Some(tokio::spawn(read(Arc::downgrade(self), follow.ring.clone(), Self::on_cgroups)));
            state.index.walked(&walk::walk(&self.root));
            state.map = Some(Arc::new(map));
            state.cgroups = Some(follow);
        }
        state.users += 1;
        Ok(())
    }

    fn release(&self, state: &mut State) {
        state.users = state.users.saturating_sub(1);
        if state.users == 0 {
            self.count_losses(state);
            state.cgroups = None;
            state.map = None;
            state.written = Written::default();
        }
    }

    pub(super) fn release_slot(&self, bit: u32) {
        let mut state = self.state();
        state.index.slots.release(bit);
        self.settle(&mut state);
        self.release(&mut state);
    }

    pub(super) fn release_processes(&self, listener: u64) {
        let mut state = self.state();
        state.listeners.remove(&listener);
        state.process_users = state.process_users.saturating_sub(1);
        if state.process_users == 0 {
            self.count_losses(&mut state);
            state.processes = None;
            state.ring_bytes = 0;
            state.index.processes = Default::default();
        }
        self.release(&mut state);
    }

    /// Loads the programs, beside those that are there already; gives what the old ones had still to say.
    fn load_processes(self: &Arc<Self>, state: &mut State, ring_bytes: u32) -> Result<Vec<ProcessChange>, Problem> {
        let mut follow = follow::processes(&self.facts, ring_bytes, state.processes.as_ref())?;
        if state.processes.is_some() {
            follow.take_turn()?;
        } else {
            let tasks = follow.tasks()?;
            self.enter_tasks(state, tasks);
        }
        follow.task = Some(tokio::spawn(read(Arc::downgrade(self), follow.ring.clone(), Self::on_processes)));
        state.ring_bytes = ring_bytes;
        let Some(mut old) = state.processes.replace(follow) else { return Ok(Vec::new()) };
        // The new ring waits for the lock that we hold: what is older is entered first.
        old.detach();
        let changes = drain_all(state, &old.ring);
        let lost = old.new_losses();
        self.enter_losses(state, &lost);
        if lost.hide_processes() {
            self.recover(state);
        }
        Ok(changes)
    }

    fn enter_tasks(&self, state: &mut State, mut tasks: Vec<decode::Image>) {
        // Parents first: they began before their children.
        tasks.sort_by_key(|image| image.process.key);
        for mut image in tasks {
            if state.index.processes.get(image.process.key).is_none() {
                self.proc.name(&mut image);
                state.index.processes.listed(&image);
            }
        }
    }

    fn on_cgroups(self: &Arc<Self>, ring: &Ring) {
        let mut state = self.state();
        let mut walk_needed = false;
        ring.drain(&mut |bytes| {
            if let Some(change) = decode::cgroup(bytes) {
                walk_needed |= !state.index.cgroup_changed(&change);
            }
        });
        if walk_needed {
            state.index.walked(&walk::walk(&self.root));
        }
        self.settle(&mut state);
    }

    fn on_processes(self: &Arc<Self>, ring: &Ring) {
        let (changes, listeners) = {
            let mut state = self.state();
            (drain(&mut state, ring), state.listeners())
        };
        tell(&listeners, &changes);
    }

    /// Reads the counters, and looks up again what lost records have made unknown.
    fn tick(self: &Arc<Self>) {
        let mut state = self.state();
        let new = self.count_losses(&mut state);
        if new.cgroup > 0 {
            state.index.walked(&walk::walk(&self.root));
        }
        if new.cgroup > 0 {
            self.settle(&mut state);
        } else if state.written.is_incomplete() {
            self.write(&mut state);
        }
        if new.hide_processes() {
            self.recover(&mut state);
        }
        state.index.processes.expire(clock::boot_ns());
    }

    fn recover(&self, state: &mut State) {
        let before = clock::boot_ns();
        let Some(follow) = &mut state.processes else { return };
        match follow.tasks() {
            Ok(tasks) => {
                let living: HashSet<ExecKey> = tasks.iter().map(|image| image.process.key).collect();
                state.index.processes.only_living(&living, before);
                self.enter_tasks(state, tasks);
            }
            Err(problem) => tracing::warn!(problem = problem.message(), "processes were not listed again"),
        }
    }

    fn count_losses(&self, state: &mut State) -> Losses {
        let mut new = Losses::default();
        for follow in [&mut state.cgroups, &mut state.processes].into_iter().flatten() {
            new.add(&follow.new_losses());
        }
        self.enter_losses(state, &new);
        new
    }

    fn enter_losses(&self, state: &mut State, new: &Losses) {
        state.losses.add(new);
        for (kind, count) in [("fork", new.fork), ("exec", new.exec), ("exit", new.exit), ("cgroup", new.cgroup)] {
            self.ledger.lost_kind(Place::IdentityRing, "", kind, count);
        }
        let evicted = state.index.processes.take_evicted();
        self.ledger.lost(Place::ProcessMap, "", new.map_full + evicted);
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

fn drain(state: &mut State, ring: &Ring) -> Vec<ProcessChange> {
    let mut changes = Vec::new();
    ring.drain(&mut |bytes| enter(&mut state.index.processes, bytes, &mut changes));
    changes
}

fn drain_all(state: &mut State, ring: &Ring) -> Vec<ProcessChange> {
    let mut changes = Vec::new();
    ring.drain_all(&mut |bytes| enter(&mut state.index.processes, bytes, &mut changes));
    changes
}

fn bytes(state: &CgroupState) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&state.decided.to_ne_bytes());
    bytes[8..16].copy_from_slice(&state.wanted.to_ne_bytes());
    bytes[16..20].copy_from_slice(&state.flags.to_ne_bytes());
    bytes
}

/// Reads a ring until identity or the ring's owner is gone.
async fn read(shared: Weak<Shared>, ring: Arc<Ring>, each: fn(&Arc<Shared>, &Ring)) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        let ticked = tokio::select! {
            readable = ring.readable() => match readable {
                Ok(()) => false,
                Err(error) => return tracing::error!(%error, "identity's ring cannot be waited for"),
            },
            _ = ticks.tick() => true,
        };
        let Some(shared) = shared.upgrade() else { return };
        if ticked {
            shared.tick();
        } else {
            each(&shared, &ring);
        }
    }
}
