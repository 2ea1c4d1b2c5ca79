//! The three layers side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{UnitCount, UnitKey, UnitState, application::Application, network::Network, security::Security};
use crate::{kernel::Facts, plan::Plan};

/// All layers of a node.
pub struct Layers {
    /// What was found at start.
    pub facts: Arc<Facts>,
    /// Processes and tracepoints.
    pub security: Security,
    /// Flows.
    pub network: Network,
    /// CPU profiles.
    pub application: Application,
    answered: BTreeMap<UnitKey, UnitState>,
}

impl Layers {
    /// Nothing is in force.
    pub fn new(facts: Arc<Facts>, security: Security, network: Network, application: Application) -> Self {
        Self { facts, security, network, application, answered: BTreeMap::new() }
    }

    /// Brings every layer in line with the plan. A layer that refuses a unit holds back nothing else.
    pub async fn apply(&mut self, plan: &Plan) {
        self.answered =
            plan.refused.iter().map(|(key, (_, problem))| (key.clone(), UnitState::Refused(problem.clone()))).collect();
        self.answered.extend(self.security.apply(plan).await);
        self.answered.extend(self.network.apply(plan).await);
        self.answered.extend(self.application.apply(plan).await);
    }

    /// How every unit fares now: what was answered when it was planned, and what has become of it since.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        let mut states = self.answered.clone();
        states.extend(self.since());
        states
    }

    /// What the layers found after they had answered, as a worker that died or an interface that went.
    fn since(&self) -> BTreeMap<UnitKey, UnitState> {
        let mut states = self.network.states();
        states.extend(self.application.states());
        states
    }

    /// Sessions of which something is still being made, though their end may have come.
    pub fn unfinished(&self) -> BTreeSet<UnitKey> {
        self.application.unfinished()
    }

    /// Records of every unit that is or was in force.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let mut counts = self.security.counts();
        counts.extend(self.network.counts());
        counts.extend(self.application.counts());
        counts
    }

    /// Takes everything out of force. What is still being written may end by itself `within` this time; after it no layer
    /// writes to the disk any more.
    pub async fn end(&mut self, within: Duration) {
        self.apply(&Plan::default()).await;
        self.application.end(within).await;
    }
}
