//! The security layer: applies the plan's process and policy units.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use trilobite_crds::node::{PodScope, ProcessesPart};

use super::{
    deliver::{EventConsumer, EventDispatcher},
    event_bus::EventBus,
    policy::{CheckedPolicies, PolicyContext, PolicySet, ReportTemplate, avoided_ways, probe_ways, same_resource},
    policy_report::PolicyReports,
};
use crate::{
    identity::{IdentityService, ProcessLease, ProcessListener, selection::selects_whole_machine},
    layers::LayerContext,
    loss::LossPoint,
    plan::{
        Plan, Unit, UnitCount, UnitKey, UnitState,
        policy::machine::{Machine, ProbedWays},
        tracing_allowed,
    },
    problem::Problem,
};

/// The layer.
pub struct Security {
    context: LayerContext,
    identity: IdentityService,
    dispatcher: Arc<EventDispatcher>,
    processes: BTreeMap<UnitKey, Arc<EventConsumer>>,
    /// Size of the process ring in bytes, with the lease.
    lease: Option<(u32, ProcessLease)>,
    policies: PolicySet,
    checked: CheckedPolicies,
    /// Ways to attach to functions that this kernel accepts; probed for the first policy that has one.
    ways: Option<ProbedWays>,
    /// What policies have asked of the kernel so far; none before the first one.
    kernel: Option<Machine>,
    reports: Arc<Mutex<Vec<ReportTemplate>>>,
    reviews: Option<JoinHandle<()>>,
}

impl Security {
    /// No unit is active yet.
    pub fn new(context: LayerContext, identity: IdentityService, bus: EventBus) -> Self {
        let readers = bus.clone();
        identity.set_throttle(Arc::new(move || {
            let readers = readers.clone();
            Box::pin(async move { readers.wait_for_room().await })
        }));
        let dispatcher = Arc::new(EventDispatcher::new(identity.clone(), bus, context.ledger.clone()));
        Self {
            context,
            identity,
            dispatcher,
            processes: BTreeMap::new(),
            lease: None,
            policies: PolicySet::new(),
            checked: CheckedPolicies::default(),
            ways: None,
            kernel: None,
            reports: Arc::default(),
            reviews: None,
        }
    }

    /// Makes the reports of this layer's policies.
    pub fn report_policies_to(&self, reports: &PolicyReports) {
        let templates = self.reports.clone();
        reports.set_source(Box::new(move || templates.lock().iter().map(ReportTemplate::read).collect()));
    }

    /// Activates the units of the plan and deactivates all others. Returns a state for each unit of the plan.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let mut states = BTreeMap::new();
        self.apply_processes(&plan.processes(), &mut states);
        self.apply_policies(plan, &mut states).await;
        let has_units = !self.processes.is_empty() || !self.policies.is_empty();
        if has_units && self.reviews.is_none() {
            self.reviews = Some(tokio::spawn(self.dispatcher.clone().review_continuously()));
        } else if !has_units && let Some(task) = self.reviews.take() {
            task.abort();
            self.dispatcher.flush();
        }
        // An aborted task is dropped, and its memory freed, when the runtime polls it next.
        tokio::task::yield_now().await;
        states
    }

    /// Records of each unit so far.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        self.policies.count_losses(&self.context.ledger);
        let losses = self.context.ledger.losses();
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        for (place, of, count) in &losses {
            if matches!(place, LossPoint::Undecided | LossPoint::PolicyRing) {
                *lost.entry(of).or_default() += count;
            }
        }
        let count = |consumer: &EventConsumer| UnitCount {
            records: consumer.records.load(Ordering::Relaxed),
            lost: lost.get(consumer.name.as_str()).copied().unwrap_or_default(),
        };
        let processes = self.processes.iter().map(|(key, consumer)| (key.clone(), count(consumer)));
        processes.chain(self.policies.consumers().map(|(key, consumer)| (key.clone(), count(consumer)))).collect()
    }

    fn apply_processes(
        &mut self,
        planned: &BTreeMap<UnitKey, Unit<ProcessesPart>>,
        states: &mut BTreeMap<UnitKey, UnitState>,
    ) {
        let followed = match planned.values().map(|unit| unit.content.ring_bytes).max() {
            Some(bytes) => self.follow_processes(bytes),
            None => {
                self.lease = None;
                Ok(())
            }
        };
        if let Err(problem) = followed {
            states.extend(planned.keys().map(|key| (key.clone(), UnitState::Refused(problem.clone()))));
            return;
        }
        self.processes.retain(|key, _| planned.contains_key(key));
        for (key, unit) in planned {
            let scope = &unit.content.pods;
            let consumer = || Arc::new(EventConsumer::new(unit.source.to_string(), scope.clone()));
            self.processes.entry(key.clone()).or_insert_with(consumer);
            states.insert(key.clone(), UnitState::Active { notes: self.notes(scope) });
        }
        self.dispatcher.set_process_consumers(self.processes.values().cloned().collect());
    }

    /// Keeps one lease with one listener when the size of the ring changes.
    fn follow_processes(&mut self, ring_bytes: u32) -> Result<(), Problem> {
        match &mut self.lease {
            Some((bytes, _)) if *bytes == ring_bytes => Ok(()),
            Some((bytes, _)) => {
                drop(self.identity.follow_processes(Some(ring_bytes), None)?);
                *bytes = ring_bytes;
                Ok(())
            }
            None => {
                let dispatcher = self.dispatcher.clone();
                let listener: ProcessListener = Arc::new(move |change| dispatcher.on_process_change(change));
                let lease = self.identity.follow_processes(Some(ring_bytes), Some(listener))?;
                self.lease = Some((ring_bytes, lease));
                Ok(())
            }
        }
    }

    async fn apply_policies(&mut self, plan: &Plan, states: &mut BTreeMap<UnitKey, UnitState>) {
        let (planned, checks) = (plan.policies(), plan.policy_checks());
        let has_functions = planned
            .values()
            .chain(checks.values())
            .any(|unit| !unit.content.spec.kprobes.is_empty() || !unit.content.spec.fentries.is_empty());
        if has_functions && self.ways.is_none() {
            self.ways = Some(probe_ways());
        }
        let ways = self.ways.unwrap_or_else(|| ProbedWays { avoided: avoided_ways(), ..ProbedWays::default() });
        let mut kernel = self.kernel.take().unwrap_or_else(|| Machine::new(&self.context.facts, ways));
        kernel.set_ways(ways);
        let is_refused = |key: &UnitKey| plan.refused.keys().any(|other| same_resource(other, key));
        let (identity, dispatcher, facts) = (&self.identity, &self.dispatcher, &*self.context.facts);
        let context = PolicyContext { identity, dispatcher, facts, kernel: &kernel };
        let applied = self.policies.apply(&planned, is_refused, &context).await;
        let checked = match tracing_allowed(facts) {
            Ok(()) => self.checked.check(&checks, &self.policies, &context).await,
            Err(problem) => checks.keys().map(|key| (key.clone(), UnitState::Refused(problem.clone()))).collect(),
        };
        kernel.close_files();
        self.kernel = Some(kernel);
        let refused = plan.refused.iter().filter(|(_, (source, _))| source.kind.is_policy());
        let refused = refused.map(|(key, (_, problem))| (key.clone(), UnitState::Refused(problem.clone())));
        *self.reports.lock() = self.policies.report_templates(&refused.chain(applied.clone()).collect());
        for (key, state) in applied.into_iter().chain(checked) {
            let state = match state {
                UnitState::Active { mut notes } => {
                    let unit = planned.get(&key).or_else(|| checks.get(&key));
                    notes.extend(unit.map(|unit| self.notes(&unit.content.pods)).into_iter().flatten());
                    UnitState::Active { notes }
                }
                refused => refused,
            };
            states.insert(key, state);
        }
    }

    fn notes(&self, scope: &PodScope) -> Vec<Problem> {
        if self.identity.has_cluster() || selects_whole_machine(scope) {
            return Vec::new();
        }
        vec![Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; leave the selector out".into(),
        }]
    }
}
