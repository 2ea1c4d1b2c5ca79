//! Active policies. Each is a unit of its own; those with the same ring size share a ring.

mod attach_point;
mod ring;
mod unit;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    sync::Arc,
};

use trilobite_crds::node::TracepointsPart;

use self::{
    attach_point::arg_readers,
    ring::{PolicyRegistry, PolicyRing, RecordReader},
    unit::{LoadedPolicy, PolicyInfo, attach_hooks},
};
use super::{
    args::ArgReader,
    deliver::{EventConsumer, EventDispatcher},
    programs::{HookIdentity, LoadedHook, SharedMaps},
};
use crate::{
    identity::{IdentityService, ProcessLease},
    kernel::{Facts, btf, clock, grace},
    loss::{Ledger, LossPoint},
    plan::{Unit, UnitKey},
    problem::Problem,
};

pub(super) struct PolicySet {
    units: BTreeMap<UnitKey, LoadedPolicy>,
    /// By size in bytes. A policy of another size gets another ring; a ring is dropped with its last policy.
    rings: BTreeMap<u32, PolicyRing>,
    /// Events name their processes, which are therefore followed while there are policies.
    processes: Option<ProcessLease>,
    registry: PolicyRegistry,
    next_source: u32,
}

/// What loading a policy depends on.
#[derive(Clone, Copy)]
pub(super) struct PolicyContext<'a> {
    pub(super) identity: &'a IdentityService,
    pub(super) dispatcher: &'a Arc<EventDispatcher>,
    pub(super) facts: &'a Facts,
    /// The kernel's types.
    pub(super) kernel: &'a btf::KernelTypes,
}

impl PolicySet {
    pub(super) fn new() -> Self {
        Self {
            units: BTreeMap::new(),
            rings: BTreeMap::new(),
            processes: None,
            registry: PolicyRegistry::default(),
            next_source: 1,
        }
    }

    /// This version of the policy is active.
    pub(super) fn has(&self, key: &UnitKey) -> bool {
        self.units.contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(super) fn consumers(&self) -> impl Iterator<Item = (&UnitKey, &Arc<EventConsumer>)> {
        self.units.iter().map(|(key, unit)| (key, &unit.consumer))
    }

    /// Loads and attaches a policy. An older version of the same resource is unloaded once the new one is attached.
    pub(super) fn load(
        &mut self,
        key: &UnitKey,
        unit: &Unit<TracepointsPart>,
        context: &PolicyContext<'_>,
    ) -> Result<(), Problem> {
        // A number is never reused: records that a failed policy has left in the ring belong to no policy.
        let source = self.next_source;
        self.next_source = self.next_source.wrapping_add(1);
        let loaded = self.load_as(source, key, unit, context);
        if loaded.is_err() {
            self.registry.lock().remove(&source);
            self.release_unused();
        }
        loaded
    }

    fn load_as(
        &mut self,
        source: u32,
        key: &UnitKey,
        unit: &Unit<TracepointsPart>,
        context: &PolicyContext<'_>,
    ) -> Result<(), Problem> {
        let PolicyContext { identity, dispatcher, kernel, .. } = *context;
        let content = &unit.content;
        let readers = content.hooks.iter().map(|hook| arg_readers(hook, kernel)).collect::<Result<Vec<_>, _>>()?;
        let selector = identity.select(&content.pods)?;
        if self.processes.is_none() {
            self.processes = Some(identity.follow_processes(None, None)?);
        }
        let loaded = self.load_hooks(source, selector.mask(), unit, &readers, context)?;
        let consumer = Arc::new(EventConsumer::new(unit.source.to_string(), content.pods.clone()));
        let info = Arc::new(PolicyInfo::new(unit, readers, &consumer));
        self.registry.lock().insert(source, info.clone());
        let ring_bytes = content.ring_bytes;
        let policy = |hooks| LoadedPolicy { source, ring_bytes, hooks, consumer, _selector: selector };
        let policy = match attach_hooks(loaded, &content.hooks) {
            Ok(hooks) => policy(hooks),
            Err((attached, problem)) => {
                self.detach(vec![policy(attached)], dispatcher);
                return Err(problem);
            }
        };
        // All hooks are attached now, so that records from now on belong to this version.
        let now = clock::boot_ns();
        info.activate(now);
        let older: Vec<UnitKey> = self.units.keys().filter(|other| same_resource(other, key)).cloned().collect();
        for other in older.iter().filter_map(|other| self.units.get(other)) {
            if let Some(info) = self.registry.lock().get(&other.source) {
                info.deactivate(now);
            }
        }
        self.units.insert(key.clone(), policy);
        self.unload(&older, dispatcher);
        Ok(())
    }

    /// Loads the programs of all hooks, and makes the ring if there is none of this size.
    fn load_hooks(
        &mut self,
        source: u32,
        selector: u64,
        unit: &Unit<TracepointsPart>,
        readers: &[Vec<ArgReader>],
        context: &PolicyContext<'_>,
    ) -> Result<Vec<LoadedHook>, Problem> {
        let PolicyContext { identity, dispatcher, facts, .. } = *context;
        let cgroups = identity.cgroups_fd().ok_or_else(|| Problem::LoadFailed {
            what: "sharing the map of cgroups".into(),
            detail: "this process may not open more files".into(),
        })?;
        let ring_bytes = unit.content.ring_bytes;
        let generation = u32::try_from(unit.source.generation).unwrap_or(u32::MAX);
        let mut hooks = Vec::new();
        for ((number, hook), readers) in (0..).zip(&unit.content.hooks).zip(readers) {
            let hook_identity = HookIdentity { selector, source, generation, number };
            let ring = self.rings.get(&ring_bytes).map(|ring| &ring.map);
            let maps = SharedMaps { cgroups: cgroups.as_fd(), ring, ring_bytes };
            let (loaded, made) = LoadedHook::load(hook, readers, hook_identity, &maps, facts)?;
            if let Some((map, ring)) = made {
                let reader = RecordReader {
                    policies: self.registry.clone(),
                    identity: identity.clone(),
                    dispatcher: dispatcher.clone(),
                };
                self.rings.insert(ring_bytes, PolicyRing::start(map, ring, reader));
            }
            hooks.push(loaded);
            self.read_rings(identity);
        }
        Ok(hooks)
    }

    /// Reads the records of active policies between two loads: the same thread loads and reads, and a policy of many hooks
    /// takes long enough to fill the rings.
    fn read_rings(&self, identity: &IdentityService) {
        identity.catch_up();
        self.rings.values().for_each(PolicyRing::drain);
    }

    /// Detaches and unloads policies, after their last records are read.
    pub(super) fn unload(&mut self, keys: &[UnitKey], dispatcher: &EventDispatcher) {
        let leaving = keys.iter().filter_map(|key| self.units.remove(key)).collect();
        self.detach(leaving, dispatcher);
    }

    fn detach(&mut self, mut leaving: Vec<LoadedPolicy>, dispatcher: &EventDispatcher) {
        if leaving.is_empty() {
            return;
        }
        leaving.iter_mut().flat_map(|unit| &mut unit.hooks).for_each(|hook| hook.detach());
        if let Err(error) = grace::wait_for_programs() {
            tracing::warn!(%error, "detached programs may still run: their last records are not read");
        }
        let rings: BTreeSet<u32> = leaving.iter().map(|unit| unit.ring_bytes).collect();
        rings.iter().filter_map(|bytes| self.rings.get(bytes)).for_each(PolicyRing::drain);
        for unit in &leaving {
            dispatcher.record_loss(LossPoint::PolicyRing, &unit.consumer.name, unit.new_losses());
            self.registry.lock().remove(&unit.source);
        }
        drop(leaving);
        self.release_unused();
    }

    /// Drops rings and the process lease when no policy needs them.
    fn release_unused(&mut self) {
        self.rings.retain(|bytes, _| self.units.values().any(|unit| unit.ring_bytes == *bytes));
        if self.units.is_empty() {
            self.processes = None;
        }
    }

    /// Reads the kernel's loss counters into the ledger.
    pub(super) fn count_losses(&self, ledger: &Ledger) {
        for unit in self.units.values() {
            ledger.record_loss(LossPoint::PolicyRing, &unit.consumer.name, unit.new_losses());
        }
    }

    /// Active policies that are not planned any more.
    pub(super) fn unplanned(&self, is_planned: impl Fn(&UnitKey) -> bool) -> Vec<UnitKey> {
        self.units.keys().filter(|key| !is_planned(key)).cloned().collect()
    }
}

/// Two versions of one resource.
pub(super) fn same_resource(a: &UnitKey, b: &UnitKey) -> bool {
    a.kind == b.kind && a.name == b.name
}
