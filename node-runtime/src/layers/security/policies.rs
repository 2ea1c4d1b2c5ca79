//! Policies in force: each a unit of its own, all writing into one ring.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::task::JoinHandle;
use trilobite_crds::node::TracepointsPart;
use trilobite_node_ebpf::record::Record;

use super::{
    SecurityEventKind,
    emit::{Emitter, Pending, Wish},
    tracepoint::{Hook, Maps, Place, args::Reading, decode},
};
use crate::{
    identity::{ExecKey, Identity, ProcessLease, Slot},
    kernel::{Facts, Map, Ring, clock},
    layers::UnitKey,
    plan::Unit,
    report::{Ledger, Place as LostAt, Problem},
};

/// All policies.
pub struct Policies {
    units: BTreeMap<UnitKey, Policy>,
    shared: Option<Shared>,
    known: Known,
    next_source: u32,
}

/// What the reader has to know of units, by their numbers.
type Known = Arc<Mutex<HashMap<u32, Arc<Facet>>>>;

struct Shared {
    map: Map,
    ring: Arc<Ring>,
    task: JoinHandle<()>,
    _lease: ProcessLease,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Policy {
    source: u32,
    hooks: Vec<Hook>,
    wish: Arc<Wish>,
    _slot: Slot,
}

/// A unit as its events show it.
struct Facet {
    policy: Arc<str>,
    namespace: Arc<str>,
    hooks: Vec<HookFacet>,
    wishes: Arc<[Arc<Wish>]>,
    /// Records from before were told by the version before; boot clock.
    since: AtomicU64,
    /// Records from then on are told by the version after; boot clock.
    until: AtomicU64,
}

struct HookFacet {
    subsystem: Arc<str>,
    event: Arc<str>,
    message: Arc<str>,
    tags: Arc<[String]>,
    labels: Vec<Option<Arc<str>>>,
    readings: Vec<Reading>,
}

impl Policies {
    /// None.
    pub fn new() -> Self {
        Self { units: BTreeMap::new(), shared: None, known: Known::default(), next_source: 1 }
    }

    /// This version is in force.
    pub fn has(&self, key: &UnitKey) -> bool {
        self.units.contains_key(key)
    }

    /// None is in force.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// What each has been given, with the name that its losses are entered for.
    pub fn wishes(&self) -> impl Iterator<Item = (&UnitKey, &Arc<Wish>)> {
        self.units.iter().map(|(key, unit)| (key, &unit.wish))
    }

    /// Puts a policy in force; an older version of the same resource leaves when the new one is attached.
    pub fn load(
        &mut self,
        key: &UnitKey,
        unit: &Unit<TracepointsPart>,
        identity: &Identity,
        emitter: &Arc<Emitter>,
        facts: &Facts,
    ) -> Result<(), Problem> {
        let slot = identity.select(&unit.content.pods)?;
        let cgroups = identity.cgroups_fd().ok_or_else(|| Problem::LoadFailed {
            what: "sharing the map of cgroups".into(),
            detail: "this process may not open more files".into(),
        })?;
        let source = self.next_source;
        let wish = Arc::new(Wish::new(unit.source.to_string(), unit.content.pods.clone()));
        let mut facet = Facet {
            policy: unit.source.name.as_str().into(),
            namespace: unit.source.namespace.as_deref().unwrap_or_default().into(),
            hooks: Vec::new(),
            wishes: [wish.clone()].into(),
            since: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
        };
        let mut hooks = Vec::new();
        let mut made = None;
        for (number, hook) in (0..).zip(&unit.content.hooks) {
            let generation = u32::try_from(unit.source.generation).unwrap_or(u32::MAX);
            let place = Place { slot: slot.mask(), source, generation, number };
            let ring = self.shared.as_ref().map(|shared| &shared.map).or(made.as_ref().map(|(map, _)| map));
            let maps = Maps { cgroups: cgroups.as_fd(), ring, ring_bytes: unit.content.ring_bytes };
            let (attached, new) = Hook::attach(hook, place, &maps, facts)?;
            made = made.or(new);
            facet.hooks.push(HookFacet {
                subsystem: hook.subsystem.as_str().into(),
                event: hook.event.as_str().into(),
                message: hook.message.as_deref().unwrap_or_default().into(),
                tags: hook.tags.clone().into(),
                labels: hook.args.iter().map(|arg| arg.label.as_deref().map(Into::into)).collect(),
                readings: attached.readings.clone(),
            });
            hooks.push(attached);
        }
        if let Some((map, ring)) = made {
            // Who did it: the processes are followed for as long as anything is told of them.
            let lease = identity.follow_processes(None, None)?;
            let ring = Arc::new(ring);
            let task = tokio::spawn(read(ring.clone(), self.known.clone(), identity.clone(), emitter.clone()));
            self.shared = Some(Shared { map, ring, task, _lease: lease });
        }
        self.next_source += 1;
        let older: Vec<UnitKey> = self.units.keys().filter(|other| same_resource(other, key)).cloned().collect();
        if !older.is_empty() {
            // Both are attached now: what comes from here on is the new one's to tell.
            let now = clock::boot_ns();
            facet.since.store(now, Ordering::Relaxed);
            for other in older.iter().filter_map(|other| self.units.get(other)) {
                if let Some(facet) = known(&self.known).get(&other.source) {
                    facet.until.store(now, Ordering::Relaxed);
                }
            }
        }
        known(&self.known).insert(source, Arc::new(facet));
        self.units.insert(key.clone(), Policy { source, hooks, wish, _slot: slot });
        for other in older {
            self.unload(&other, identity, emitter);
        }
        Ok(())
    }

    /// Takes a policy out of force, after what it has written is read.
    pub fn unload(&mut self, key: &UnitKey, identity: &Identity, emitter: &Emitter) {
        let Some(unit) = self.units.remove(key) else { return };
        emitter.enter_lost(LostAt::PolicyRing, &unit.wish.name, losses(&unit));
        drop(unit.hooks);
        if let Some(shared) = &self.shared {
            tell(&shared.ring, &self.known, identity, emitter);
        }
        known(&self.known).remove(&unit.source);
        if self.units.is_empty() {
            self.shared = None;
        }
    }

    /// Reads the kernel's counters of what was lost.
    pub fn count_losses(&self, ledger: &Ledger) {
        for unit in self.units.values() {
            ledger.lost(LostAt::PolicyRing, &unit.wish.name, losses(unit));
        }
    }

    /// Those that are of a resource for which nothing is planned any more.
    pub fn without_plan(&self, planned: impl Fn(&UnitKey) -> bool) -> Vec<UnitKey> {
        self.units.keys().filter(|key| !planned(key)).cloned().collect()
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self::new()
    }
}

/// Two versions of one resource.
pub fn same_resource(a: &UnitKey, b: &UnitKey) -> bool {
    a.kind == b.kind && a.name == b.name
}

fn losses(unit: &Policy) -> u64 {
    unit.hooks.iter().map(Hook::new_losses).sum()
}

fn known(units: &Known) -> MutexGuard<'_, HashMap<u32, Arc<Facet>>> {
    units.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(ring: Arc<Ring>, units: Known, identity: Identity, emitter: Arc<Emitter>) {
    loop {
        if let Err(error) = ring.readable().await {
            return tracing::error!(%error, "the policies' ring cannot be waited for");
        }
        tell(&ring, &units, &identity, &emitter);
    }
}

/// Reads what is in the ring. The processes come after it and before they are asked for, so that each is known by then.
fn tell(ring: &Ring, units: &Known, identity: &Identity, emitter: &Emitter) {
    let mut told = Vec::new();
    ring.drain(&mut |bytes| {
        let event = decode::head(bytes).and_then(|(header, hook)| {
            let facet = known(units).get(&header.source).cloned()?;
            Some((header, event(&facet, &header, hook, bytes)?, facet.wishes.clone()))
        });
        told.extend(event);
    });
    identity.catch_up();
    for (header, kind, wishes) in told {
        let key = ExecKey { ktime: header.exec_ktime, pid: header.exec_pid };
        let (process, parent) = emitter.process(key, header.cgroup);
        emitter.offer(Pending { time: header.time, cgroup: header.cgroup, process, parent, kind, wishes });
    }
}

fn event(facet: &Facet, header: &Record, hook: u32, bytes: &[u8]) -> Option<SecurityEventKind> {
    let covered = facet.since.load(Ordering::Relaxed)..facet.until.load(Ordering::Relaxed);
    if !covered.contains(&header.time) {
        return None;
    }
    let hook = facet.hooks.get(hook as usize)?;
    let values = decode::values(bytes, &hook.readings)?;
    Some(SecurityEventKind::Tracepoint {
        policy: facet.policy.clone(),
        policy_namespace: facet.namespace.clone(),
        subsystem: hook.subsystem.clone(),
        event: hook.event.clone(),
        message: hook.message.clone(),
        tags: hook.tags.clone(),
        args: values.into_iter().zip(hook.labels.iter().cloned()).collect(),
    })
}
