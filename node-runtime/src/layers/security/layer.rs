//! Brings what the security layer has in force in line with the plan, unit by unit.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::task::JoinHandle;
use trilobite_crds::node::{PodScope, ProcessesPart, TracepointsPart};

use super::{
    bus::EventBus,
    emit::{Emitter, Wish},
    policies::{Helpers, Policies, same_resource},
};
use crate::{
    identity::{Identity, Listener, ProcessLease, slots::whole_machine},
    kernel::btf,
    layers::{Context, UnitCount, UnitKey, UnitState},
    plan::{Plan, Unit},
    report::{Place, Problem},
};

/// The layer.
pub struct Security {
    context: Context,
    identity: Identity,
    emitter: Arc<Emitter>,
    processes: BTreeMap<UnitKey, Arc<Wish>>,
    lease: Option<(u32, ProcessLease)>,
    policies: Policies,
    looking: Option<JoinHandle<()>>,
}

impl Security {
    /// Nothing is in force.
    pub fn new(context: Context, identity: Identity, sink: EventBus) -> Self {
        let readers = sink.clone();
        identity.set_pace(Arc::new(move || {
            let readers = readers.clone();
            Box::pin(async move { readers.make_room().await })
        }));
        let emitter = Arc::new(Emitter::new(identity.clone(), sink, context.ledger.clone()));
        Self {
            context,
            identity,
            emitter,
            processes: BTreeMap::new(),
            lease: None,
            policies: Policies::new(),
            looking: None,
        }
    }

    /// Brings what is in force in line with the plan. Every unit of the plan has an answer.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let mut states = BTreeMap::new();
        self.apply_processes(&plan.processes, &mut states);
        self.apply_tracepoints(plan, &mut states).await;
        let wanted = !self.processes.is_empty() || !self.policies.is_empty();
        if wanted && self.looking.is_none() {
            self.looking = Some(tokio::spawn(self.emitter.clone().keep_looking()));
        } else if !wanted && let Some(task) = self.looking.take() {
            task.abort();
            self.emitter.finish();
        }
        // What was stopped is let go of when its task is next looked at: then its memory is given back.
        tokio::task::yield_now().await;
        states
    }

    /// Records of each unit so far.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        self.policies.count_losses(&self.context.ledger);
        let losses = self.context.ledger.losses();
        let lost = |name: &str| {
            let of_unit = losses
                .iter()
                .filter(|(place, of, _)| matches!(place, Place::Undecided | Place::PolicyRing) && of == name);
            of_unit.map(|(.., count)| count).sum()
        };
        let count = |wish: &Wish| UnitCount { records: wish.records.load(Ordering::Relaxed), lost: lost(&wish.name) };
        let processes = self.processes.iter().map(|(key, wish)| (key.clone(), count(wish)));
        processes.chain(self.policies.wishes().map(|(key, wish)| (key.clone(), count(wish)))).collect()
    }

    fn apply_processes(
        &mut self,
        wanted: &BTreeMap<UnitKey, Unit<ProcessesPart>>,
        states: &mut BTreeMap<UnitKey, UnitState>,
    ) {
        let followed = match wanted.values().map(|unit| unit.content.ring_bytes).max() {
            Some(bytes) => self.follow(bytes),
            None => {
                self.lease = None;
                Ok(())
            }
        };
        if let Err(problem) = followed {
            states.extend(wanted.keys().map(|key| (key.clone(), UnitState::Refused(problem.clone()))));
            return;
        }
        self.processes.retain(|key, _| wanted.contains_key(key));
        for (key, unit) in wanted {
            let scope = &unit.content.pods;
            let wish = || Arc::new(Wish::new(unit.source.to_string(), scope.clone()));
            self.processes.entry(key.clone()).or_insert_with(wish);
            states.insert(key.clone(), UnitState::InForce { notes: self.notes(scope) });
        }
        self.emitter.set_processes(self.processes.values().cloned().collect());
    }

    /// One lease, with one listener, whatever the size of the ring becomes.
    fn follow(&mut self, ring_bytes: u32) -> Result<(), Problem> {
        match &mut self.lease {
            Some((bytes, _)) if *bytes == ring_bytes => Ok(()),
            Some((bytes, _)) => {
                drop(self.identity.follow_processes(Some(ring_bytes), None)?);
                *bytes = ring_bytes;
                Ok(())
            }
            None => {
                let emitter = self.emitter.clone();
                let listener: Listener = Arc::new(move |change| emitter.on_process(change));
                let lease = self.identity.follow_processes(Some(ring_bytes), Some(listener))?;
                self.lease = Some((ring_bytes, lease));
                Ok(())
            }
        }
    }

    async fn apply_tracepoints(&mut self, plan: &Plan, states: &mut BTreeMap<UnitKey, UnitState>) {
        let kernel = btf::Kernel::default();
        for (key, unit) in &plan.tracepoints {
            let known = self.policies.has(key);
            let state = match self.tracepoints_in_force(key, unit, &kernel) {
                Ok(()) => UnitState::InForce { notes: self.notes(&unit.content.pods) },
                Err(problem) => UnitState::Refused(problem),
            };
            states.insert(key.clone(), state);
            if !known {
                // Others have their turn: clients, and whoever asks whether the agent is alive.
                tokio::task::yield_now().await;
            }
        }
        // A version that failed, here or in the plan, leaves the one before it in force.
        let planned = |key: &UnitKey| {
            plan.tracepoints.contains_key(key)
                || plan.tracepoints.keys().any(|other| same_resource(other, key) && !self.policies.has(other))
                || plan.refused.keys().any(|other| same_resource(other, key))
        };
        let leaving = self.policies.without_plan(planned);
        self.policies.unload(&leaving, &self.identity, &self.emitter);
    }

    fn tracepoints_in_force(
        &mut self,
        key: &UnitKey,
        unit: &Unit<TracepointsPart>,
        kernel: &btf::Kernel,
    ) -> Result<(), Problem> {
        if self.policies.has(key) {
            return Ok(());
        }
        let (identity, emitter, facts) = (&self.identity, &self.emitter, &*self.context.facts);
        self.policies.load(key, unit, &Helpers { identity, emitter, facts, kernel })
    }

    fn notes(&self, scope: &PodScope) -> Vec<Problem> {
        if self.identity.has_cluster() || whole_machine(scope) {
            return Vec::new();
        }
        vec![Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; leave the selector out".into(),
        }]
    }
}
