//! Brings what the security layer has in force in line with the plan, unit by unit.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::task::JoinHandle;
use trilobite_crds::node::ProcessesPart;

use super::{
    bus::EventBus,
    emit::{Emitter, Wish},
};
use crate::{
    identity::{Identity, Listener, ProcessLease},
    layers::{Context, UnitCount, UnitKey, UnitState},
    plan::{Plan, Unit},
    report::{Place, Problem},
};

/// The layer.
pub struct Security {
    context: Context,
    identity: Identity,
    emitter: Arc<Emitter>,
    processes: BTreeMap<UnitKey, Processes>,
    lease: Option<(u32, ProcessLease)>,
    looking: Option<JoinHandle<()>>,
}

struct Processes {
    wish: Arc<Wish>,
}

impl Security {
    /// Nothing is in force.
    pub fn new(context: Context, identity: Identity, sink: EventBus) -> Self {
        let emitter = Arc::new(Emitter::new(identity.clone(), sink, context.ledger.clone()));
        Self { context, identity, emitter, processes: BTreeMap::new(), lease: None, looking: None }
    }

    /// Brings what is in force in line with the plan. Every unit of the plan has an answer.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let mut states = BTreeMap::new();
        self.apply_processes(&plan.processes, &mut states);
        let wanted = !self.processes.is_empty();
        if wanted && self.looking.is_none() {
            self.looking = Some(tokio::spawn(self.emitter.clone().keep_looking()));
        } else if !wanted && let Some(task) = self.looking.take() {
            task.abort();
        }
        // What was stopped is let go of when its task is next looked at: then its memory is given back.
        tokio::task::yield_now().await;
        states
    }

    /// Records of each unit so far.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let losses = self.context.ledger.losses();
        let lost = |name: &str| {
            losses
                .iter()
                .filter(|(place, of, _)| *place == Place::Undecided && of == name)
                .map(|(.., count)| count)
                .sum()
        };
        self.processes
            .iter()
            .map(|(key, unit)| {
                let records = unit.wish.records.load(Ordering::Relaxed);
                (key.clone(), UnitCount { records, lost: lost(&unit.wish.name) })
            })
            .collect()
    }

    fn apply_processes(
        &mut self,
        wanted: &BTreeMap<UnitKey, Unit<ProcessesPart>>,
        states: &mut BTreeMap<UnitKey, UnitState>,
    ) {
        let ring_bytes = wanted.values().map(|unit| unit.content.ring_bytes).max();
        let followed = match ring_bytes {
            Some(bytes) => self.follow(bytes),
            None => {
                self.lease = None;
                Ok(())
            }
        };
        if let Err(problem) = followed {
            for key in wanted.keys() {
                states.insert(key.clone(), UnitState::Refused(problem.clone()));
            }
            return;
        }
        self.processes.retain(|key, _| wanted.contains_key(key));
        for (key, unit) in wanted {
            self.processes.entry(key.clone()).or_insert_with(|| Processes {
                wish: Arc::new(Wish::new(unit.source.to_string(), unit.content.pods.clone())),
            });
            states.insert(key.clone(), UnitState::InForce { notes: self.notes(&unit.content.pods) });
        }
        self.emitter.set_processes(self.processes.values().map(|unit| unit.wish.clone()).collect());
    }

    fn follow(&mut self, ring_bytes: u32) -> Result<(), Problem> {
        if self.lease.as_ref().is_some_and(|(bytes, _)| *bytes == ring_bytes) {
            return Ok(());
        }
        // One listener for all sizes: it is handed from lease to lease by asking for the next one without it.
        let (listener, old) = match self.lease.take() {
            Some((bytes, lease)) => (None, Some((bytes, lease))),
            None => {
                let emitter = self.emitter.clone();
                (Some(Arc::new(move |change: &_| emitter.on_process(change)) as Listener), None)
            }
        };
        match self.identity.follow_processes(Some(ring_bytes), listener) {
            Ok(lease) => {
                let first = old.map_or(lease, |(_, first)| first);
                self.lease = Some((ring_bytes, first));
                Ok(())
            }
            Err(problem) => {
                self.lease = old;
                Err(problem)
            }
        }
    }

    fn notes(&self, scope: &trilobite_crds::node::PodScope) -> Vec<Problem> {
        if self.identity.has_cluster() || crate::identity::slots::every_pod(scope) {
            return Vec::new();
        }
        vec![Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; leave the selector out".into(),
        }]
    }
}
