//! What the layer keeps in force: its units, what is watched for them, and where their flows go.

use std::{collections::BTreeMap, sync::Arc};

use trilobite_crds::node::FlowOutput;
use trilobite_node_ebpf::flow::FlowDirection;

use super::{
    captured,
    directory::{Directory, NodePod, Table},
    engine::{CROWDED_PATIENCE, Engine, PATIENCE},
    history::History,
    netlink::{self, Link},
    outlet::Outlet,
    place::{self, Places},
    sums::{Sum, Sums},
    tap::{Ended, Sizes},
    targets::Notes,
    unit::{Unit, Wish},
};
use crate::{
    export::lines::Lines,
    identity::{Identity, Pod, slots},
    kernel::Ring,
    layers::{Context, UnitCount, UnitKey, UnitState},
    report::{Place as Lost, Problem},
};

/// Interfaces that one call of `reconcile` attaches to or detaches from at most. The kernel takes tens of milliseconds for
/// each, and the agent has one thread.
const AT_ONCE: usize = 4;

/// Everything that the layer's task and the agent's loop share.
pub(super) struct State {
    context: Context,
    pub(super) identity: Identity,
    engine: Engine,
    pub(super) places: Places,
    pub(super) outlet: Outlet,
    remote: Vec<Arc<dyn Directory>>,
    /// Some pod has a process but no interface yet.
    pub(super) pending: bool,
    pub(super) notes: Notes,
    /// Why nothing could be brought in line, the last time.
    refused: Option<Problem>,
    /// The interfaces of this network namespace, when they were looked at last.
    pub(super) links: Vec<Link>,
}

impl State {
    pub(super) fn new(context: Context, identity: Identity, history: History, seed: u64) -> Self {
        Self {
            outlet: Outlet::new(context.node_name.clone(), history),
            context,
            identity,
            engine: Engine::new(seed),
            places: Places::default(),
            remote: Vec::new(),
            pending: false,
            notes: Notes::default(),
            refused: None,
            links: Vec::new(),
        }
    }

    /// Takes the units in that are wanted; `reconcile` brings the kernel in line with them. Gives those that cannot be.
    pub(super) fn enter(
        &mut self,
        wishes: BTreeMap<UnitKey, Wish>,
        remote: Vec<Arc<dyn Directory>>,
    ) -> BTreeMap<UnitKey, UnitState> {
        self.remote = remote;
        // What was lost so far is told to those who are there.
        self.enter_losses();
        let before = self.lost();
        let mut states = BTreeMap::new();
        for (key, unit) in &mut self.outlet.units {
            unit.leaving = !wishes.contains_key(key);
        }
        for (key, wish) in wishes {
            if self.outlet.units.contains_key(&key) {
                continue;
            }
            match self.begin(&key, wish, before) {
                Ok(unit) => drop(self.outlet.units.insert(key, unit)),
                Err(problem) => drop(states.insert(key, UnitState::Refused(problem))),
            }
        }
        states
    }

    /// The units that are wanted, and how each fares now.
    pub(super) fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        let state = |key: &UnitKey| match &self.refused {
            Some(problem) => UnitState::Refused(problem.clone()),
            None => self.state_of(key),
        };
        self.outlet.wanted().map(|(key, _)| (key.clone(), state(key))).collect()
    }

    /// Watches what the pods that are there now need. With no unit, nothing is left in the kernel or in memory. Gives
    /// whether it is to be called again, at once but after others had their turn.
    pub(super) fn reconcile(&mut self) -> bool {
        let answer = self.bring_in_line();
        self.enter_losses();
        match answer {
            Ok(more) => {
                self.refused = None;
                more
            }
            Err(problem) => {
                if self.refused.as_ref() != Some(&problem) {
                    tracing::warn!(problem = problem.message(), "the interfaces of pods could not be followed");
                }
                self.refused = Some(problem);
                // The next sweep finds them changed, and tries again.
                self.links = Vec::new();
                false
            }
        }
    }

    fn bring_in_line(&mut self) -> Result<bool, Problem> {
        if self.outlet.wanted().next().is_none() {
            return Ok(self.wind_down());
        }
        self.outlet.history.revive();
        let asking = |error: std::io::Error| Problem::LoadFailed {
            what: "asking the kernel for its interfaces".into(),
            detail: error.to_string(),
        };
        let sizes = self.sizes();
        let pods = self.identity.pods();
        let links = netlink::links().map_err(asking)?;
        let local = netlink::addresses().map_err(asking)?;
        self.notes.clear();
        let (targets, mut watched_for) = if self.identity.has_cluster() {
            self.targets_of_pods(&pods, &links)
        } else {
            self.pending = false;
            self.targets_of_machine(&place::of_machine(&links))
        };
        self.links = links;
        self.engine.know(self.directories(&pods), local);
        self.outlet.also_watched_for(&watched_for);
        let Self { engine, outlet, .. } = self;
        let progress = engine.set_some(sizes, &targets, AT_ONCE, &mut |flow| outlet.deliver(flow))?;
        let there = if progress.problems.is_empty() { Vec::new() } else { netlink::links().map_err(asking)? };
        for (interface, problem) in progress.problems {
            let keys = watched_for.remove(&interface).unwrap_or_default();
            // An interface that went away between the question and the attachment is no problem.
            if there.iter().any(|link| link.index == interface) {
                self.note(&keys, &problem);
            }
        }
        if !progress.more {
            self.outlet.watched_for = watched_for;
            self.outlet.units.retain(|_, unit| !unit.leaving);
        }
        Ok(progress.more)
    }

    /// Gives back what is in the kernel and in memory, a few interfaces at a time. Gives whether there is more.
    fn wind_down(&mut self) -> bool {
        let Self { engine, outlet, .. } = self;
        if engine.detach_some(AT_ONCE, &mut |flow| outlet.deliver(flow)) {
            return true;
        }
        let was_in_force = engine.ring().is_some() || !outlet.units.is_empty();
        engine.stop(&mut |flow| outlet.deliver(flow));
        outlet.units.clear();
        outlet.watched_for.clear();
        if was_in_force {
            outlet.history.retire();
        }
        self.places = Places::default();
        self.notes.clear();
        self.links = Vec::new();
        self.pending = false;
        false
    }

    /// Who has which address, nearest first. A pod that has ended has none: another may have got it.
    fn directories(&self, pods: &[Arc<Pod>]) -> Vec<Arc<dyn Directory>> {
        let local = Table::default();
        for pod in pods.iter().filter(|pod| !pod.ended) {
            local.put_pod(&NodePod { pod: (**pod).clone(), node_ips: Vec::new() }, &self.context.node_name);
        }
        let mut directories: Vec<Arc<dyn Directory>> = vec![Arc::new(local)];
        directories.extend(self.remote.iter().cloned());
        directories
    }

    /// Takes the records that have come. Gives whether the map is so full that what has ended should leave soon.
    pub(super) fn drain(&mut self) -> bool {
        let Self { engine, outlet, .. } = self;
        engine.drain(&mut |flow| outlet.deliver(flow));
        engine.is_crowded()
    }

    /// Enters the losses, and looks whether interfaces have come or gone: then there is something to `reconcile`.
    pub(super) fn sweep(&mut self) -> bool {
        self.enter_losses();
        // One that cannot be asked now is asked with the next sweep.
        netlink::links().is_ok_and(|links| links != self.links)
    }

    /// Ends what is silent; see `Engine::end_idle`.
    pub(super) fn end_silent(&mut self) -> Ended {
        let Self { engine, outlet, .. } = self;
        let patience = if engine.is_crowded() { CROWDED_PATIENCE } else { PATIENCE };
        engine.end_idle(patience, &mut |flow| outlet.deliver(flow)).unwrap_or_else(|problem| {
            tracing::warn!(problem = problem.message(), "silent flows could not be ended");
            Ended::default()
        })
    }

    /// See `Engine::remove_ended`.
    pub(super) fn remove_ended(&mut self) {
        if let Err(problem) = self.engine.remove_ended() {
            tracing::warn!(problem = problem.message(), "ended flows stay in the map");
        }
    }

    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.engine.ring()
    }

    pub(super) fn sums(&mut self) -> Sums {
        self.drain();
        self.engine.sums()
    }

    /// What is in no flow, by the interface's name.
    pub(super) fn outside_flows(&self) -> Vec<(String, FlowDirection, Sum)> {
        let sums = self.engine.outside_flows().into_iter();
        sums.map(|((index, direction), sum)| (self.engine.name(index).to_owned(), direction, sum)).collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let lost = self.lost();
        let count = |unit: &Unit| UnitCount { records: unit.count.records, lost: lost - unit.lost_before };
        self.outlet.units.iter().map(|(key, unit)| (key.clone(), count(unit))).collect()
    }

    fn enter_losses(&mut self) {
        let (records, packets) = self.engine.losses();
        self.outlet.tell_lost(records + packets);
        self.context.ledger.lost_so_far(Lost::FlowRing, "", records);
        self.context.ledger.lost_so_far(Lost::FlowMap, "", packets);
    }

    fn lost(&self) -> u64 {
        let (records, packets) = self.engine.losses();
        records + packets
    }

    fn sizes(&self) -> Sizes {
        let sizes = |of: fn(&Sizes) -> u32| self.outlet.wanted().map(|(_, unit)| of(&unit.wish.sizes)).max();
        Sizes {
            flow_entries: sizes(|sizes| sizes.flow_entries).unwrap_or_default(),
            ring_bytes: sizes(|sizes| sizes.ring_bytes).unwrap_or_default(),
        }
    }

    /// A session of which no pod can be had, because all that it selects are in the host's network, is refused.
    fn state_of(&self, key: &UnitKey) -> UnitState {
        let notes = self.notes.all(key);
        let watched = self.outlet.watched_for.values().any(|keys| keys.contains(key));
        match notes.iter().find(|note| matches!(note, Problem::HostNetworkPod { .. })) {
            Some(problem) if !watched && !self.pending => UnitState::Refused(problem.clone()),
            _ => UnitState::InForce { notes },
        }
    }

    fn begin(&self, key: &UnitKey, mut wish: Wish, lost_before: u64) -> Result<Unit, Problem> {
        if !self.identity.has_cluster() {
            wish.scope = slots::without_cluster(&wish.scope);
        }
        let slot = match self.identity.has_cluster().then(|| self.identity.select(&wish.scope)) {
            Some(Ok(slot)) => Some(slot),
            Some(Err(problem)) if wish.scope.namespace_selector.is_some() => return Err(problem),
            // Pods are then heard of a little later.
            Some(Err(_)) | None => None,
        };
        let outlets = self.outlets(key, &wish);
        Ok(Unit {
            wish,
            outlets,
            _slot: slot,
            leaving: false,
            count: UnitCount::default(),
            lost_before,
            lost_told: lost_before,
        })
    }

    fn outlets(&self, key: &UnitKey, wish: &Wish) -> Vec<Lines> {
        let of = format!("{:?}/{}", key.kind, key.name);
        let folder = || captured::folder(&self.context.state_dir).join(captured::folder_name(&key.name));
        let outlet = |output: &FlowOutput| match output {
            FlowOutput::Stdout => Lines::stdout(&of, &self.context.ledger),
            FlowOutput::File => Lines::file(&of, &self.context.ledger, folder()),
        };
        wish.output.iter().map(outlet).collect()
    }
}
