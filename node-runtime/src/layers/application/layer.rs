//! The application layer as the agent sees it: what one AppProfile asks for is one unit, of samples and requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use trilobite_crds::node::{AppProfileSession, Desired, RequestsState};

use super::{Profiles, RequestRows, cpu::layer::CpuProfiler, node_budget::NodeBudget, requests::layer::RequestTracer};
use crate::{
    identity::IdentityService,
    layers::{LayerContext, worker::WorkerProgram},
    plan::{Plan, Unit, UnitCount, UnitKey, UnitState},
    problem::Problem,
};

pub struct Application {
    budget: NodeBudget,
    cpu: CpuProfiler,
    requests: RequestTracer,
    /// Parts of units that could not be started.
    refused: BTreeMap<UnitKey, Problem>,
}

impl Application {
    /// Loads nothing. Results that a previous agent stored are available.
    pub fn new(context: LayerContext, identity: IdentityService, worker: Result<WorkerProgram, Problem>) -> Self {
        Self {
            budget: NodeBudget::new(),
            cpu: CpuProfiler::new(context.clone(), identity.clone(), worker.clone()),
            requests: RequestTracer::new(context, identity, worker),
            refused: BTreeMap::new(),
        }
    }

    /// Running CPU profiles and stored results, for the services that read them.
    pub fn profiles(&self) -> Profiles {
        self.cpu.profiles()
    }

    /// Rows of requests, for the services that read them.
    pub fn request_rows(&self) -> RequestRows {
        self.requests.rows()
    }

    /// Takes over from an agent that was last alive `from`: the rows of its sessions are lost.
    pub fn take_over(&mut self, desired: &Desired, from: Timestamp, now: Timestamp) {
        for session in desired.sessions.iter().filter(|session| session.retained_until() > from) {
            if let Some(wanted) = session.content.app_profile().and_then(|content| content.requests) {
                let key = UnitKey::of_session(session);
                self.requests.note_interruption(key, &wanted, Some(session.expires_at), from, now);
            }
        }
        if let Some(standing) = &desired.application.standing
            && let Some(wanted) = &standing.requests
        {
            self.requests.note_interruption(UnitKey::of_standing(standing), wanted, None, from, now);
        }
    }

    /// Brings what runs in line with the plan.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let planned = plan.app_profiles();
        self.budget.set_limit(plan.node_memory_budget_bytes);
        self.cpu.end_unplanned(&planned);
        self.requests.end_unplanned(&planned, &plan.expired).await;
        self.refused.clear();
        for (key, unit) in in_order(&planned) {
            self.make_room(key, unit, &plan.expired).await;
            if let Err(problem) = self.start(key, unit) {
                self.refused.insert(key.clone(), problem);
            }
        }
        self.states().into_iter().filter(|(key, _)| planned.contains_key(key)).collect()
    }

    /// Rows of ended profiles give way to a new profile.
    async fn make_room(&mut self, key: &UnitKey, unit: &Unit<AppProfileSession>, expired: &BTreeSet<UnitKey>) {
        if self.cpu.is_started(key) || self.requests.is_started(key) {
            return;
        }
        while !self.budget.has_room(unit.content.memory_budget_bytes)
            && self.requests.end_oldest_retained(expired).await
        {}
    }

    /// Starts the parts of a unit that do not run. A part that is refused does not keep the other from running.
    fn start(&mut self, key: &UnitKey, unit: &Unit<AppProfileSession>) -> Result<(), Problem> {
        let lease = || self.budget.admit(key, unit.content.memory_budget_bytes);
        let cpu = match unit.content.cpu {
            Some(sampling) if !self.cpu.is_started(key) => {
                lease().and_then(|lease| self.cpu.start(key, unit, sampling, lease))
            }
            _ => Ok(()),
        };
        let requests = match &unit.content.requests {
            Some(wanted) if !self.requests.is_started(key) => {
                lease().and_then(|lease| self.requests.start(key, unit, wanted, lease))
            }
            _ => Ok(()),
        };
        cpu.and(requests)
    }

    /// Current states: a profile may fail long after it was started.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        let refused = self.refused.iter().map(|(key, problem)| (key.clone(), UnitState::Refused(problem.clone())));
        let mut states: BTreeMap<UnitKey, UnitState> = BTreeMap::new();
        for (key, part) in refused.chain(self.cpu.states()).chain(self.requests.states()) {
            let state = match states.remove(&key) {
                Some(other) => worse(other, part),
                None => part,
            };
            states.insert(key, state);
        }
        states
    }

    /// Profiles whose result is still being made, or whose capture has not ended.
    pub fn unfinished(&self) -> BTreeSet<UnitKey> {
        let mut unfinished = self.cpu.unfinished();
        unfinished.extend(self.requests.unfinished());
        unfinished
    }

    /// Samples and rows so far, and lost ones.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let mut counts = self.cpu.counts();
        for (key, UnitCount { records, lost }) in self.requests.counts() {
            let sum = counts.entry(key).or_default();
            sum.records = sum.records.saturating_add(records);
            sum.lost = sum.lost.saturating_add(lost);
        }
        counts
    }

    /// What is known of the requests of each unit that asks for them.
    pub fn request_states(&self) -> BTreeMap<UnitKey, RequestsState> {
        self.requests.request_states()
    }

    /// Whether a profile that was refused for its memory may fit now. Asks once.
    pub fn was_memory_freed(&self) -> bool {
        self.budget.was_freed()
    }

    /// Ends every profile, after `timeout` at the latest. Nothing is written to the disk afterwards, until a profile starts.
    pub async fn shut_down(&mut self, timeout: Duration) {
        self.refused.clear();
        self.requests.shut_down(timeout).await;
        self.cpu.shut_down(timeout).await;
    }
}

/// The order in which profiles are admitted: those without an end, then by their ends.
fn in_order(planned: &BTreeMap<UnitKey, Unit<AppProfileSession>>) -> Vec<(&UnitKey, &Unit<AppProfileSession>)> {
    let mut units: Vec<_> = planned.iter().collect();
    units.sort_by_key(|(_, unit)| unit.expires_at);
    units
}

/// The state of a unit with two parts: refused if one is, with the notes of both else.
fn worse(one: UnitState, other: UnitState) -> UnitState {
    match (one, other) {
        (UnitState::Active { notes: mut first }, UnitState::Active { notes: second }) => {
            first.extend(second.into_iter().filter(|note| !first.contains(note)).collect::<Vec<_>>());
            UnitState::Active { notes: first }
        }
        (refused @ UnitState::Refused(_), _) | (_, refused @ UnitState::Refused(_)) => refused,
    }
}

#[cfg(test)]
mod tests;
