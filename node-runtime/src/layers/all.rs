//! The three layers side by side.

use std::{collections::BTreeMap, sync::Arc};

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
}

impl Layers {
    /// Brings every layer in line with the plan. A layer that refuses a unit holds back nothing else.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let mut states: BTreeMap<_, _> =
            plan.refused.iter().map(|(key, (_, problem))| (key.clone(), UnitState::Refused(problem.clone()))).collect();
        states.extend(self.security.apply(plan).await);
        states.extend(self.network.apply(plan).await);
        states.extend(self.application.apply(plan).await);
        states
    }

    /// Records of every unit that is or was in force.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let mut counts = self.security.counts();
        counts.extend(self.network.counts());
        counts.extend(self.application.counts());
        counts
    }
}
