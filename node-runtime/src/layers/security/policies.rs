//! Policies in force: each a unit of its own; all that ask for one size of ring write into one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::task::JoinHandle;
use trilobite_crds::node::{TracepointHook, TracepointsPart};
use trilobite_node_ebpf::record::Record;

use super::{
    SecurityEventKind,
    emit::{Emitter, Pending, Wish},
    tracepoint::{Hook, Maps, Place, Ready, args::Reading, decode, readings},
};
use crate::{
    identity::{ExecKey, Identity, ProcessLease, Slot},
    kernel::{Facts, Map, Ring, btf, clock, grace},
    layers::UnitKey,
    plan::Unit,
    report::{Ledger, Place as LostAt, Problem},
};

/// All policies.
pub struct Policies {
    units: BTreeMap<UnitKey, Policy>,
    /// By size in bytes. Another size is another ring: the old one goes with the last policy that writes into it.
    rings: BTreeMap<u32, Shared>,
    /// Who did it: the processes are followed for as long as anything is told of them.
    processes: Option<ProcessLease>,
    known: Known,
    next_source: u32,
}

/// What a policy is put in force with.
#[derive(Clone, Copy)]
pub struct Helpers<'a> {
    /// Who is selected, and whose an event is.
    pub identity: &'a Identity,
    /// Where events go.
    pub emitter: &'a Arc<Emitter>,
    /// What this kernel can do.
    pub facts: &'a Facts,
    /// Its types.
    pub kernel: &'a btf::Kernel,
}

/// What the reader has to know of units, by their numbers.
type Known = Arc<Mutex<HashMap<u32, Arc<Facet>>>>;

struct Shared {
    map: Map,
    ring: Arc<Ring>,
    task: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Policy {
    source: u32,
    ring_bytes: u32,
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
    /// Records from before were told by the version before, or come from a policy half of which is attached; boot clock.
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
        Self {
            units: BTreeMap::new(),
            rings: BTreeMap::new(),
            processes: None,
            known: Known::default(),
            next_source: 1,
        }
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
    pub fn load(&mut self, key: &UnitKey, unit: &Unit<TracepointsPart>, helpers: &Helpers<'_>) -> Result<(), Problem> {
        // A number is never used again: whatever a policy that failed has left in the ring is nobody's.
        let source = self.next_source;
        self.next_source = self.next_source.wrapping_add(1);
        let loaded = self.put_in_force(source, key, unit, helpers);
        if loaded.is_err() {
            known(&self.known).remove(&source);
            self.let_go();
        }
        loaded
    }

    fn put_in_force(
        &mut self,
        source: u32,
        key: &UnitKey,
        unit: &Unit<TracepointsPart>,
        helpers: &Helpers<'_>,
    ) -> Result<(), Problem> {
        let Helpers { identity, emitter, kernel, .. } = *helpers;
        let content = &unit.content;
        let readings = content.hooks.iter().map(|hook| readings(hook, kernel)).collect::<Result<Vec<_>, _>>()?;
        let slot = identity.select(&content.pods)?;
        if self.processes.is_none() {
            self.processes = Some(identity.follow_processes(None, None)?);
        }
        let ready = self.ready(source, slot.mask(), unit, &readings, helpers)?;
        let wish = Arc::new(Wish::new(unit.source.to_string(), content.pods.clone()));
        let facet = Arc::new(Facet::of(unit, readings, &wish));
        known(&self.known).insert(source, facet.clone());
        let hooks = match attach(ready, &content.hooks) {
            Ok(hooks) => hooks,
            Err((attached, problem)) => {
                self.leave(
                    vec![Policy { source, ring_bytes: content.ring_bytes, hooks: attached, wish, _slot: slot }],
                    identity,
                    emitter,
                );
                return Err(problem);
            }
        };
        // All are attached now: what comes from here on is this version's to tell.
        let now = clock::boot_ns();
        facet.since.store(now, Ordering::Relaxed);
        let older: Vec<UnitKey> = self.units.keys().filter(|other| same_resource(other, key)).cloned().collect();
        for other in older.iter().filter_map(|other| self.units.get(other)) {
            if let Some(facet) = known(&self.known).get(&other.source) {
                facet.until.store(now, Ordering::Relaxed);
            }
        }
        let policy = Policy { source, ring_bytes: content.ring_bytes, hooks, wish, _slot: slot };
        self.units.insert(key.clone(), policy);
        self.unload(&older, identity, emitter);
        Ok(())
    }

    /// Programs of all hooks in the kernel, none of them attached; makes the ring where there is none of its size.
    fn ready(
        &mut self,
        source: u32,
        slot: u64,
        unit: &Unit<TracepointsPart>,
        readings: &[Vec<Reading>],
        helpers: &Helpers<'_>,
    ) -> Result<Vec<Ready>, Problem> {
        let Helpers { identity, emitter, facts, .. } = *helpers;
        let cgroups = identity.cgroups_fd().ok_or_else(|| Problem::LoadFailed {
            what: "sharing the map of cgroups".into(),
            detail: "this process may not open more files".into(),
        })?;
        let ring_bytes = unit.content.ring_bytes;
        let generation = u32::try_from(unit.source.generation).unwrap_or(u32::MAX);
        let mut all = Vec::new();
        for ((number, hook), readings) in (0..).zip(&unit.content.hooks).zip(readings) {
            let place = Place { slot, source, generation, number };
            let ring = self.rings.get(&ring_bytes).map(|shared| &shared.map);
            let maps = Maps { cgroups: cgroups.as_fd(), ring, ring_bytes };
            let (ready, made) = Ready::load(hook, readings, place, &maps, facts)?;
            if let Some((map, ring)) = made {
                let ring = Arc::new(ring);
                let task = tokio::spawn(read(ring.clone(), self.known.clone(), identity.clone(), emitter.clone()));
                self.rings.insert(ring_bytes, Shared { map, ring, task });
            }
            all.push(ready);
            self.read_meanwhile(identity, emitter);
        }
        Ok(all)
    }

    /// What the programs that are in force have written. The thread that loads is the one that reads: a policy of many hooks
    /// must not take so long that the rings are full at its end.
    fn read_meanwhile(&self, identity: &Identity, emitter: &Emitter) {
        identity.catch_up();
        for shared in self.rings.values() {
            tell(|each| shared.ring.drain_all(each), &self.known, identity, emitter);
        }
    }

    /// Takes policies out of force, after what they have written is read.
    pub fn unload(&mut self, keys: &[UnitKey], identity: &Identity, emitter: &Emitter) {
        let leaving = keys.iter().filter_map(|key| self.units.remove(key)).collect();
        self.leave(leaving, identity, emitter);
    }

    fn leave(&mut self, mut leaving: Vec<Policy>, identity: &Identity, emitter: &Emitter) {
        if leaving.is_empty() {
            return;
        }
        leaving.iter_mut().flat_map(|unit| &mut unit.hooks).for_each(Hook::detach);
        if let Err(error) = grace::wait_for_programs() {
            tracing::warn!(%error, "programs that left may still write: what they do is not told");
        }
        let rings: BTreeSet<u32> = leaving.iter().map(|unit| unit.ring_bytes).collect();
        for shared in rings.iter().filter_map(|bytes| self.rings.get(bytes)) {
            tell(|each| shared.ring.drain_all(each), &self.known, identity, emitter);
        }
        for unit in &leaving {
            emitter.enter_lost(LostAt::PolicyRing, &unit.wish.name, losses(unit));
            known(&self.known).remove(&unit.source);
        }
        drop(leaving);
        self.let_go();
    }

    /// Rings and processes that no policy needs any more.
    fn let_go(&mut self) {
        self.rings.retain(|bytes, _| self.units.values().any(|unit| unit.ring_bytes == *bytes));
        if self.units.is_empty() {
            self.processes = None;
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

impl Facet {
    /// A unit that is not attached yet: no record is its own.
    fn of(unit: &Unit<TracepointsPart>, readings: Vec<Vec<Reading>>, wish: &Arc<Wish>) -> Self {
        let hooks = unit.content.hooks.iter().zip(readings).map(|(hook, readings)| HookFacet {
            subsystem: hook.subsystem.as_str().into(),
            event: hook.event.as_str().into(),
            message: hook.message.as_deref().unwrap_or_default().into(),
            tags: hook.tags.clone().into(),
            labels: hook.args.iter().map(|arg| arg.label.as_deref().map(Into::into)).collect(),
            readings,
        });
        Self {
            policy: unit.source.name.as_str().into(),
            namespace: unit.source.namespace.as_deref().unwrap_or_default().into(),
            hooks: hooks.collect(),
            wishes: [wish.clone()].into(),
            since: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
        }
    }
}

/// Attaches all, or gives those that were attached before one could not be.
fn attach(ready: Vec<Ready>, hooks: &[TracepointHook]) -> Result<Vec<Hook>, (Vec<Hook>, Problem)> {
    let mut attached = Vec::new();
    for (ready, hook) in ready.into_iter().zip(hooks) {
        match ready.attach(hook) {
            Ok(hook) => attached.push(hook),
            Err(problem) => return Err((attached, problem)),
        }
    }
    Ok(attached)
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
        ring.wait_for(emitter.make_room()).await;
        tell(|each| ring.drain(each), &units, &identity, &emitter);
    }
}

/// Reads what is in the ring. The processes come after it and before they are asked for, so that each is known by then.
fn tell(drain: impl FnOnce(&mut dyn FnMut(&[u8])), units: &Known, identity: &Identity, emitter: &Emitter) {
    let mut told = Vec::new();
    let mut of_nobody = 0;
    drain(&mut |bytes| {
        let head = decode::head(bytes);
        let facet = head.as_ref().and_then(|(header, _)| known(units).get(&header.source).cloned());
        let (Some((header, hook)), Some(facet)) = (head, facet) else {
            of_nobody += 1;
            return;
        };
        told.extend(event(&facet, &header, hook, bytes).map(|kind| (header, kind, facet.wishes.clone())));
    });
    if of_nobody > 0 {
        tracing::warn!(records = of_nobody, "records of the policies' ring are of no policy that is in force");
        emitter.enter_lost(LostAt::PolicyRing, "", of_nobody);
    }
    identity.catch_up();
    let now = clock::boot_ns();
    for (header, kind, wishes) in told {
        let key = ExecKey { ktime: header.exec_ktime, pid: header.exec_pid };
        let (process, parent) = emitter.process(key, header.cgroup);
        let pending = Pending { time: header.time, cgroup: header.cgroup, process, parent, kind, wishes };
        emitter.offer(pending, now);
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
        tid: header.tid,
        policy: facet.policy.clone(),
        policy_namespace: facet.namespace.clone(),
        subsystem: hook.subsystem.clone(),
        event: hook.event.clone(),
        message: hook.message.clone(),
        tags: hook.tags.clone(),
        args: values.into_iter().zip(hook.labels.iter().cloned()).collect(),
    })
}
