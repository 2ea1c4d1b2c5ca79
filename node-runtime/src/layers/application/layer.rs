//! The application layer as the agent sees it. CPU profiles are all that it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use super::{Profiles, cpu::layer::CpuProfiler};
use crate::{
    identity::IdentityService,
    layers::LayerContext,
    plan::{Plan, UnitCount, UnitKey, UnitState},
};

pub struct Application {
    cpu: CpuProfiler,
}

impl Application {
    /// Loads nothing. Results that a previous agent stored are available. `worker` is the path of the worker's binary.
    pub fn new(context: LayerContext, identity: IdentityService, worker: &Path) -> Self {
        Self { cpu: CpuProfiler::new(context, identity, worker) }
    }

    /// Running profiles and stored results, for the services that read them.
    pub fn profiles(&self) -> Profiles {
        self.cpu.profiles()
    }

    /// Brings the running profiles in line with the plan.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        self.cpu.apply(plan)
    }

    /// Current states: a profile may fail long after it was started.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        self.cpu.states()
    }

    /// Profiles whose result is still being made.
    pub fn unfinished(&self) -> BTreeSet<UnitKey> {
        self.cpu.unfinished()
    }

    /// Samples so far, and lost ones.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        self.cpu.counts()
    }

    /// Ends every profile, after `timeout` at the latest. Nothing is written to the disk afterwards, until a profile starts.
    pub async fn shut_down(&mut self, timeout: Duration) {
        self.cpu.shut_down(timeout).await;
    }
}
