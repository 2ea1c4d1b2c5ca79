//! The loop: desired state -> plan -> layers -> what is reported. The only place that knows all three layers.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use trilobite_crds::node::Source;

use crate::{
    desired::Update,
    layers::{Layers, UnitCount, UnitKey},
    plan,
    report::{
        Ledger, Problem,
        status::{Snapshot, UnitReport},
    },
};

/// What is in force on this node, and what was asked.
pub struct Runtime {
    layers: Layers,
    ledger: Ledger,
    update: Update,
    units: BTreeMap<UnitKey, UnitReport>,
    counts: BTreeMap<UnitKey, UnitCount>,
    node_problems: Vec<(Source, Problem)>,
}

impl Runtime {
    /// Nothing is in force yet.
    pub fn new(layers: Layers, ledger: Ledger) -> Self {
        Self {
            layers,
            ledger,
            update: Update { desired: Arc::default(), generation: 0 },
            units: BTreeMap::new(),
            counts: BTreeMap::new(),
            node_problems: Vec::new(),
        }
    }

    /// Brings what is in force in line with a new desired state.
    pub async fn take(&mut self, update: Update, now: Timestamp) {
        self.update = update;
        self.reconcile(now).await;
    }

    /// Brings what is in force in line with what is still wanted at `now`. Calling it again changes nothing.
    pub async fn reconcile(&mut self, now: Timestamp) {
        self.count();
        let plan = plan::plan(&self.update.desired, &self.layers.facts, now);
        let states = self.layers.apply(&plan).await;
        self.count();
        let mut units = BTreeMap::new();
        for (key, state) in states {
            let Some(source) = plan.source(&key) else { continue };
            units.insert(key, UnitReport { source: source.clone(), state });
        }
        self.units = units;
        self.forget_counts();
    }

    /// When the next session ends.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.update.desired.sessions.iter().map(|session| session.expires_at).filter(|end| *end > now).min()
    }

    /// Something that is wrong with the node outside any unit.
    pub fn node_problem(&mut self, source: Source, problem: Problem) {
        self.node_problems.push((source, problem));
    }

    /// What a status is made of.
    pub fn snapshot(&mut self) -> Snapshot {
        self.count();
        Snapshot {
            generation: self.update.generation,
            desired: self.update.desired.clone(),
            units: self.units.clone(),
            counts: self.counts.clone(),
            losses: self.losses(),
            node_problems: self.node_problems.clone(),
        }
    }

    /// Nothing stays in force.
    pub async fn unload(&mut self) {
        self.layers.apply(&plan::Plan::default()).await;
    }

    fn count(&mut self) {
        for (key, count) in self.layers.counts() {
            let known = self.counts.entry(key).or_default();
            known.records = known.records.max(count.records);
            known.lost = known.lost.max(count.lost);
        }
    }

    /// Counts are kept for what is planned and for sessions that ended, until the operator takes those away.
    fn forget_counts(&mut self) {
        let sessions: Vec<UnitKey> = self.update.desired.sessions.iter().map(UnitKey::of_session).collect();
        self.counts.retain(|key, _| self.units.contains_key(key) || sessions.contains(key));
    }

    /// Losses of units go to their resource; losses of the node go to the stack.
    fn losses(&self) -> Vec<(Source, &'static str, u64)> {
        let stack = self.update.desired.parts.iter().map(|part| &part.source).find(|source| source.namespace.is_none());
        let of = |name: &str| {
            self.units.values().map(|unit| &unit.source).find(|source| source.to_string() == name).or(stack).cloned()
        };
        self.ledger
            .losses()
            .into_iter()
            .filter_map(|(place, name, count)| Some((of(&name)?, place.as_str(), count)))
            .collect()
    }
}
