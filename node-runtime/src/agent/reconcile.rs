//! One reconcile: desired state -> plan -> layers -> snapshot. Holds what is planned, active, refused and counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use trilobite_crds::{
    node::{Desired, ProfilePartSpec, Session, Source, SourceKind},
    stack::DnsMode,
};

use crate::{
    desired::{ActiveState, Update, keeps_previous_version, unit_name},
    layers::{Layers, application::cpu::profiles::ProfileProgress},
    loss::{Ledger, by_source, stack_source},
    plan,
    plan::{PartKeys, UnitCount, UnitKey, UnitState},
    problem::Problem,
    report::status::{Snapshot, UnitReport},
};

/// Sources of node-level problems that belong to no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeProblemSource {
    /// The last-known-good state on this node's disk.
    LastKnownGood,
    /// The known pods on this node's disk.
    KnownPods,
    /// The known namespace labels on this node's disk.
    KnownNamespaces,
    /// The known images of processes on this node's disk.
    KnownProcesses,
    /// The watch of this node's pods.
    Pods,
    /// The watch of namespaces.
    Namespaces,
    /// Fetching the NodeProfile that the NodeRuntime points at.
    Profile,
    /// The `/metrics` listener.
    Metrics,
    /// The listener of Hubble's metrics.
    HubbleMetrics,
    /// The address of the port for the relay.
    RelayPort,
    /// The certificate of the port for the relay.
    RelayCertificate,
}

/// The desired state of this node, and what has become of each of its units.
pub struct Reconciler {
    layers: Layers,
    ledger: Ledger,
    update: Update,
    keys: PartKeys,
    requested: BTreeMap<UnitKey, Requested>,
    units: BTreeMap<UnitKey, UnitReport>,
    counts: BTreeMap<UnitKey, UnitCount>,
    /// Units that were planned before they expired, by this agent or by the previous one.
    started: BTreeSet<UnitKey>,
    /// For each refused unit: the older part that stays active in its place.
    previous_versions: BTreeMap<UnitKey, ProfilePartSpec>,
    node_problems: BTreeMap<NodeProblemSource, Problem>,
    status_overwritten: u64,
}

/// The resource that requested a unit; a part also has a digest.
struct Requested {
    source: Source,
    part: Option<Arc<str>>,
}

impl Reconciler {
    pub fn new(layers: Layers, ledger: Ledger) -> Self {
        Self {
            layers,
            ledger,
            update: Update::default(),
            keys: PartKeys::default(),
            requested: BTreeMap::new(),
            units: BTreeMap::new(),
            counts: BTreeMap::new(),
            started: BTreeSet::new(),
            previous_versions: BTreeMap::new(),
            node_problems: BTreeMap::new(),
            status_overwritten: 0,
        }
    }

    /// Takes over from a previous agent that was alive until `alive_until`: sessions of `desired` that ended by then have run,
    /// and the counts of a finished profile are read from its stored result.
    pub fn take_over(&mut self, desired: &Desired, alive_until: Timestamp, now: Timestamp) {
        self.layers.application.take_over(desired, alive_until, now);
        for session in desired.sessions.iter().filter(|session| session.expires_at <= alive_until) {
            let key = UnitKey::of_session(session);
            if session.source.kind == SourceKind::AppProfile
                && let Some(ProfileProgress::Finished(meta)) = self.layers.application.profiles().one(&key.name, now)
                && meta.started < session.expires_at
            {
                let count = UnitCount { records: meta.counts.samples, lost: meta.counts.lost };
                self.counts.insert(key.clone(), count);
            }
            self.started.insert(key);
        }
    }

    pub async fn apply(&mut self, update: Update, now: Timestamp) {
        let known = self.update.desired.parts.iter().chain(self.previous_versions.values());
        self.keys.remember(known.chain(&update.desired.parts));
        let previous_versions = self.previous_versions_for(&update.desired);
        self.update = update;
        self.previous_versions = previous_versions;
        self.log_skipped();
        self.reconcile(now).await;
    }

    /// For each new unit of `desired`: the active part of the same resource, which stays active if the new one is refused.
    fn previous_versions_for(&self, desired: &Desired) -> BTreeMap<UnitKey, ProfilePartSpec> {
        let is_active =
            |key: &UnitKey| matches!(self.units.get(key).map(|unit| &unit.state), Some(UnitState::Active { .. }));
        let active = self.update.desired.parts.iter().filter(|part| keeps_previous_version(part));
        let active = active.map(|part| (self.keys.key(part), part)).filter(|(key, _)| is_active(key));
        let previous = self.previous_versions.values().map(|part| (self.keys.key(part), part));
        let mut before: HashMap<_, (UnitKey, &ProfilePartSpec)> = HashMap::new();
        for (key, part) in active.chain(previous) {
            before.entry(unit_name(part)).or_insert((key, part));
        }
        let replaced = desired.parts.iter().filter_map(|part| {
            let (old_key, old) = before.get(&unit_name(part))?;
            let key = self.keys.key(part);
            (*old_key != key).then(|| (key, ProfilePartSpec::clone(old)))
        });
        replaced.collect()
    }

    /// From the next `reconcile` on.
    pub fn set_dns(&self, mode: DnsMode) {
        self.layers.network.set_dns(mode);
    }

    /// Brings the layers in line with what is still desired at `now`. Idempotent.
    pub async fn reconcile(&mut self, now: Timestamp) {
        self.refresh_counts();
        let desired = self.update.desired.clone();
        let plan = plan::plan_with_keys(&desired, &self.layers.facts, now, &self.keys);
        self.layers.apply(&plan).await;
        self.refresh_counts();
        let parts = desired.parts.iter().map(|part| {
            (self.keys.key(part), Requested { source: part.source.clone(), part: Some(part.digest.as_str().into()) })
        });
        let sessions = desired
            .sessions
            .iter()
            .map(|session| (UnitKey::of_session(session), Requested { source: session.source.clone(), part: None }));
        let standing = desired.application.standing.iter();
        let standing = standing.map(|it| (UnitKey::of_standing(it), Requested { source: stack_source(), part: None }));
        self.requested = parts.chain(sessions).chain(standing).collect();
        self.started.extend(self.requested.keys().filter(|key| plan.source(key).is_some()).cloned());
        self.started.retain(|key| self.requested.contains_key(key));
        self.refresh_units(now);
        self.drop_stale_counts();
        let units = &self.units;
        let is_refused = |key: &UnitKey| matches!(units.get(key).map(|unit| &unit.state), Some(UnitState::Refused(_)));
        self.previous_versions.retain(|key, _| is_refused(key));
    }

    /// Tries refused profiles again once the memory of others is free.
    pub async fn reconcile_if_memory_was_freed(&mut self, now: Timestamp) {
        if self.layers.application.was_memory_freed() {
            self.reconcile(now).await;
        }
    }

    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.update.desired.sessions.iter().map(|session| session.expires_at).filter(|end| *end > now).min()
    }

    /// Sets or clears the problem of one source.
    pub fn set_node_problem(&mut self, source: NodeProblemSource, problem: Option<Problem>) {
        match problem {
            Some(problem) => drop(self.node_problems.insert(source, problem)),
            None => drop(self.node_problems.remove(&source)),
        }
    }

    /// The operator took this agent for silent: its status is written again.
    pub fn count_overwritten_status(&mut self) {
        self.status_overwritten += 1;
    }

    /// Sets the NodeRuntime that the next status is written to, where its profile could not be fetched yet.
    pub fn set_uid(&mut self, uid: String) {
        self.update.uid = Some(uid);
    }

    /// The state that the next agent resumes from. Sessions that had expired before they started are left out.
    pub fn state_to_persist(&self) -> ActiveState {
        let mut desired = Desired::clone(&self.update.desired);
        desired.sessions.retain(|session| self.started.contains(&UnitKey::of_session(session)));
        ActiveState { desired, previous_versions: self.previous_versions.values().cloned().collect() }
    }

    pub fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        self.refresh_counts();
        self.refresh_units(now);
        let Update { desired, generation, uid } = self.update.clone();
        Snapshot {
            losses: by_source::by_source(&self.ledger.by_kind(), &desired),
            previous_generations: self
                .previous_versions
                .iter()
                .map(|(key, part)| (key.clone(), part.source.generation))
                .collect(),
            uid,
            generation,
            desired,
            units: self.units.clone(),
            unfinished: self.layers.unfinished(),
            requests: self.layers.application.request_states(),
            status_overwritten: self.status_overwritten,
            counts: self.counts.clone(),
            pods_selected: BTreeMap::new(),
            skipped: self.skipped_parts(),
            node_problems: self.node_problems.values().map(|problem| (stack_source(), problem.clone())).collect(),
        }
    }

    fn log_skipped(&self) {
        let Desired { parts, node_labels, .. } = &*self.update.desired;
        for part in parts.iter().filter(|part| !part.content.selects_node(node_labels)) {
            tracing::info!(resource = %part.source, "skipped: spec.nodeSelector leaves this node out");
        }
    }

    /// Digests of the parts that are not for this node.
    fn skipped_parts(&self) -> BTreeSet<String> {
        let Desired { parts, node_labels, .. } = &*self.update.desired;
        let skipped = parts.iter().filter(|part| !part.content.selects_node(node_labels));
        skipped.map(|part| part.digest.clone()).collect()
    }

    /// Unloads every unit. Results that are still being written get `results_timeout`.
    pub async fn unload(&mut self, results_timeout: Duration) {
        self.update = Update::default();
        self.keys = PartKeys::default();
        self.requested.clear();
        self.units.clear();
        self.counts.clear();
        self.started.clear();
        self.previous_versions.clear();
        self.layers.unload(results_timeout).await;
    }

    /// Reads the state of every unit. An expired session is no longer planned; if it was refused, its reason stays.
    fn refresh_units(&mut self, now: Timestamp) {
        let mut units = BTreeMap::new();
        for (key, state) in self.layers.states() {
            let Some(Requested { source, part }) = self.requested.get(&key) else { continue };
            units.insert(key, UnitReport { source: source.clone(), state, part: part.clone() });
        }
        for session in self.update.desired.sessions.iter().filter(|session| session.expires_at <= now) {
            let key = UnitKey::of_session(session);
            // Layers also report sessions that have ended; one that ended without a problem is no longer active.
            if matches!(units.get(&key), Some(UnitReport { state: UnitState::Active { notes }, .. }) if notes.is_empty())
            {
                units.remove(&key);
            }
            if let Some(problem) = self.problem_after_expiry(session, &key).filter(|_| !units.contains_key(&key)) {
                let (source, state) = (session.source.clone(), UnitState::Refused(problem));
                units.insert(key, UnitReport { source, state, part: None });
            }
        }
        self.log_refusals(&units);
        self.units = units;
    }

    /// Logs each refusal that is new: the status lists the first 20 problems only.
    fn log_refusals(&self, units: &BTreeMap<UnitKey, UnitReport>) {
        for (key, unit) in units {
            let UnitState::Refused(problem) = &unit.state else { continue };
            if self.units.get(key).is_none_or(|before| before.state != unit.state) {
                tracing::error!(resource = %unit.source, reason = problem.reason().as_str(), "{}", problem.message());
            }
        }
    }

    fn problem_after_expiry(&self, session: &Session, key: &UnitKey) -> Option<Problem> {
        if !self.started.contains(key) {
            return Some(Problem::SessionExpired { end: session.expires_at });
        }
        match self.units.get(key).map(|unit| &unit.state) {
            Some(UnitState::Refused(problem)) => Some(problem.clone()),
            _ => None,
        }
    }

    fn refresh_counts(&mut self) {
        for (key, count) in self.layers.counts() {
            let known = self.counts.entry(key).or_default();
            known.records = known.records.max(count.records);
            known.lost = known.lost.max(count.lost);
        }
    }

    /// Counts stay while a unit is requested, also after its session has ended.
    fn drop_stale_counts(&mut self) {
        self.counts.retain(|key, _| self.requested.contains_key(key));
    }
}

#[cfg(test)]
mod tests;
