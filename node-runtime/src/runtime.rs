//! The loop: desired state -> plan -> layers -> what is reported. The only place that knows all three layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use trilobite_crds::node::{Desired, ProfilePartSpec, Session, Source, SourceKind};

use crate::{
    desired::{InForce, Update, in_place_of, may_stand},
    layers::{Layers, UnitCount, UnitKey, UnitState, application::profiles::Standing},
    plan,
    report::{
        Ledger, Problem, losses, stack,
        status::{Snapshot, UnitReport},
    },
};

/// What of a node, outside any unit, something can be wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matter {
    /// The last good state on this node's disk.
    LastGood,
    /// The pods of this node on its disk.
    KnownPods,
    /// Labels of namespaces on its disk.
    KnownNamespaces,
    /// The watch of its pods.
    Pods,
    /// The watch of namespaces.
    Namespaces,
    /// The profile that the NodeRuntime points at.
    Profile,
    /// `/metrics`.
    Metrics,
}

/// What is in force on this node, and what was asked.
pub struct Runtime {
    layers: Layers,
    ledger: Ledger,
    update: Update,
    asked: BTreeMap<UnitKey, Asked>,
    units: BTreeMap<UnitKey, UnitReport>,
    counts: BTreeMap<UnitKey, UnitCount>,
    /// Sessions whose end had not come when they were planned, by this agent or by the one before.
    begun: BTreeSet<UnitKey>,
    /// By units that are refused: the part that stays in force in their place.
    standing: BTreeMap<UnitKey, ProfilePartSpec>,
    troubles: BTreeMap<Matter, Problem>,
}

/// Who asked for a unit, and by which part.
struct Asked {
    source: Source,
    part: Option<String>,
}

impl Runtime {
    /// Nothing is in force yet.
    pub fn new(layers: Layers, ledger: Ledger) -> Self {
        Self {
            layers,
            ledger,
            update: Update::default(),
            asked: BTreeMap::new(),
            units: BTreeMap::new(),
            counts: BTreeMap::new(),
            begun: BTreeSet::new(),
            standing: BTreeMap::new(),
            troubles: BTreeMap::new(),
        }
    }

    /// Says that an agent was here before, and alive until then: sessions of `desired` that had ended by then have run, and
    /// what it counted for a profile stands beside the result that it kept.
    pub fn follow_on(&mut self, desired: &Desired, alive_until: Timestamp, now: Timestamp) {
        for session in desired.sessions.iter().filter(|session| session.expires_at <= alive_until) {
            let key = UnitKey::of_session(session);
            if session.source.kind == SourceKind::AppProfile
                && let Some(Standing::Over(meta)) = self.layers.application.profiles().one(&key.name, now)
                && meta.started < session.expires_at
            {
                let count = UnitCount { records: meta.counts.samples, lost: meta.counts.lost };
                self.counts.insert(key.clone(), count);
            }
            self.begun.insert(key);
        }
    }

    /// Brings what is in force in line with a new desired state.
    pub async fn take(&mut self, update: Update, now: Timestamp) {
        let replaced = self.replaced_by(&update.desired);
        self.update = update;
        self.standing = replaced;
        self.reconcile(now).await;
    }

    /// By units of `desired` that are not there yet: the parts that are in force, and stay so if those are refused.
    fn replaced_by(&self, desired: &Desired) -> BTreeMap<UnitKey, ProfilePartSpec> {
        let is_in_force =
            |key: &UnitKey| matches!(self.units.get(key).map(|unit| &unit.state), Some(UnitState::InForce { .. }));
        let in_force = self.update.desired.parts.iter().filter(|part| may_stand(part));
        let in_force = in_force.map(|part| (UnitKey::of_part(part), part)).filter(|(key, _)| is_in_force(key));
        let standing = self.standing.values().map(|part| (UnitKey::of_part(part), part));
        let before: Vec<(UnitKey, &ProfilePartSpec)> = in_force.chain(standing).collect();
        let replaced = desired.parts.iter().filter_map(|part| {
            let (old_key, old) = before.iter().find(|(_, old)| in_place_of(old, part))?;
            let key = UnitKey::of_part(part);
            (*old_key != key).then(|| (key, ProfilePartSpec::clone(old)))
        });
        replaced.collect()
    }

    /// Brings what is in force in line with what is still wanted at `now`. Calling it again changes nothing.
    pub async fn reconcile(&mut self, now: Timestamp) {
        self.count();
        let desired = self.update.desired.clone();
        let plan = plan::plan(&desired, &self.layers.facts, now);
        self.layers.apply(&plan).await;
        self.count();
        let parts = desired.parts.iter().map(|part| {
            (UnitKey::of_part(part), Asked { source: part.source.clone(), part: Some(part.digest.clone()) })
        });
        let sessions = desired
            .sessions
            .iter()
            .map(|session| (UnitKey::of_session(session), Asked { source: session.source.clone(), part: None }));
        self.asked = parts.chain(sessions).collect();
        self.begun.extend(self.asked.keys().filter(|key| plan.source(key).is_some()).cloned());
        self.begun.retain(|key| self.asked.contains_key(key));
        self.look(now);
        self.forget_counts();
        let units = &self.units;
        let is_refused = |key: &UnitKey| matches!(units.get(key).map(|unit| &unit.state), Some(UnitState::Refused(_)));
        self.standing.retain(|key, _| is_refused(key));
    }

    /// When the next session ends.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.update.desired.sessions.iter().map(|session| session.expires_at).filter(|end| *end > now).min()
    }

    /// Says what is wrong with the node outside any unit, or that nothing is any more.
    pub fn trouble(&mut self, with: Matter, problem: Option<Problem>) {
        match problem {
            Some(problem) => drop(self.troubles.insert(with, problem)),
            None => drop(self.troubles.remove(&with)),
        }
    }

    /// Whose object the next status is for, where it is known before what it asks for can be had.
    pub fn is_of(&mut self, uid: String) {
        self.update.uid = Some(uid);
    }

    /// What an agent after this one may resume: not what had come too late for this one already.
    pub fn to_keep(&self) -> InForce {
        let mut desired = Desired::clone(&self.update.desired);
        desired.sessions.retain(|session| self.begun.contains(&UnitKey::of_session(session)));
        InForce { desired, standing: self.standing.values().cloned().collect() }
    }

    /// What a status is made of.
    pub fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        self.count();
        self.look(now);
        let Update { desired, generation, uid } = self.update.clone();
        Snapshot {
            losses: losses::by_source(&self.ledger.by_kind(), &desired),
            standing: self.standing.iter().map(|(key, part)| (key.clone(), part.source.generation)).collect(),
            uid,
            generation,
            desired,
            units: self.units.clone(),
            unfinished: self.layers.unfinished(),
            counts: self.counts.clone(),
            node_problems: self.troubles.values().map(|problem| (stack(), problem.clone())).collect(),
        }
    }

    /// Nothing stays in force, and nothing is wanted; what is still being written has `within` this time to end.
    pub async fn end(&mut self, within: Duration) {
        self.update = Update::default();
        self.asked.clear();
        self.units.clear();
        self.counts.clear();
        self.begun.clear();
        self.standing.clear();
        self.layers.end(within).await;
    }

    /// How every unit fares now. A session that is over is planned no more; what it was refused for stays.
    fn look(&mut self, now: Timestamp) {
        let mut units = BTreeMap::new();
        for (key, state) in self.layers.states() {
            let Some(Asked { source, part }) = self.asked.get(&key) else { continue };
            units.insert(key, UnitReport { source: source.clone(), state, part: part.clone() });
        }
        for session in self.update.desired.sessions.iter().filter(|session| session.expires_at <= now) {
            let key = UnitKey::of_session(session);
            // A layer tells of what has ended as well; where nothing went wrong with it, it is not in force any more.
            if matches!(units.get(&key), Some(UnitReport { state: UnitState::InForce { notes }, .. }) if notes.is_empty())
            {
                units.remove(&key);
            }
            if let Some(problem) = self.over(session, &key).filter(|_| !units.contains_key(&key)) {
                let (source, state) = (session.source.clone(), UnitState::Refused(problem));
                units.insert(key, UnitReport { source, state, part: None });
            }
        }
        self.units = units;
    }

    fn over(&self, session: &Session, key: &UnitKey) -> Option<Problem> {
        if !self.begun.contains(key) {
            return Some(Problem::SessionExpired { end: session.expires_at });
        }
        match self.units.get(key).map(|unit| &unit.state) {
            Some(UnitState::Refused(problem)) => Some(problem.clone()),
            _ => None,
        }
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
        self.counts.retain(|key, _| self.asked.contains_key(key));
    }
}

#[cfg(test)]
mod tests;
