//! The three layers side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{application::Application, network::Network, security::Security};
use crate::{
    kernel::Facts,
    plan::{Plan, UnitCount, UnitKey, UnitState},
};

/// All layers of a node.
pub struct Layers {
    /// What was found at start.
    pub facts: Arc<Facts>,
    /// Processes and tracepoints.
    pub security: Security,
    /// Flows.
    pub network: Network,
    /// CPU profiles and requests.
    pub application: Application,
    applied: BTreeMap<UnitKey, UnitState>,
}

impl Layers {
    pub fn new(facts: Arc<Facts>, security: Security, network: Network, application: Application) -> Self {
        Self { facts, security, network, application, applied: BTreeMap::new() }
    }

    /// Brings every layer in line with the plan. A refused unit affects no other unit.
    pub async fn apply(&mut self, plan: &Plan) {
        self.applied =
            plan.refused.iter().map(|(key, (_, problem))| (key.clone(), UnitState::Refused(problem.clone()))).collect();
        self.applied.extend(self.security.apply(plan).await);
        self.applied.extend(self.network.apply(plan).await);
        self.applied.extend(self.application.apply(plan).await);
    }

    /// The state of every unit: as of the last `apply`, updated by what the layers have found since.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        let mut states = self.applied.clone();
        states.extend(self.later_states());
        states
    }

    /// Changes after the last `apply`, e.g. a worker that crashed or an interface that disappeared.
    fn later_states(&self) -> BTreeMap<UnitKey, UnitState> {
        let mut states = self.network.states();
        states.extend(self.application.states());
        states
    }

    /// Sessions whose result is still being written, also after their end.
    pub fn unfinished(&self) -> BTreeSet<UnitKey> {
        self.application.unfinished()
    }

    /// Records of every unit that is or was active.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let mut counts = self.security.counts();
        counts.extend(self.network.counts());
        counts.extend(self.application.counts());
        counts
    }

    /// Unloads every unit. Results that are still being written get `results_timeout`; after that no layer writes to disk.
    pub async fn unload(&mut self, results_timeout: Duration) {
        self.apply(&Plan::default()).await;
        self.application.shut_down(results_timeout).await;
    }
}
