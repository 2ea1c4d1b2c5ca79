//! Policies that are checked and not loaded: what would become of each, beside those that are active.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trilobite_crds::node::PolicyPart;

use super::set::{PolicyContext, PolicySet};
use crate::plan::{
    Unit, UnitKey, UnitState,
    policy::{PolicyId, PolicyInput, PolicyVersion, compile},
};

/// The number of a checked policy in plans that are dropped. The highest, so that no bits of others are asked for before its own.
const CHECKED: PolicyId = PolicyId(u32::MAX);

/// Answers so far, which hold while the same policies are active.
#[derive(Default)]
pub(in crate::layers::security) struct CheckedPolicies {
    beside: BTreeSet<PolicyId>,
    states: BTreeMap<UnitKey, UnitState>,
}

impl CheckedPolicies {
    /// What would become of each policy beside the `active` ones: active, with its notes, or refused. Nothing is loaded, so the
    /// verifier is not asked.
    pub(in crate::layers::security) async fn check(
        &mut self,
        checks: &BTreeMap<UnitKey, Unit<PolicyPart>>,
        active: &PolicySet,
        context: &PolicyContext<'_>,
    ) -> BTreeMap<UnitKey, UnitState> {
        let beside: BTreeSet<PolicyId> = active.units.values().map(|unit| unit.version.id).collect();
        if self.beside != beside {
            *self = Self { beside, states: BTreeMap::new() };
        }
        self.states.retain(|key, _| checks.contains_key(key));
        for (key, unit) in checks {
            if self.states.contains_key(key) {
                continue;
            }
            self.states.insert(key.clone(), check_one(unit, active, context));
            // Planning many hooks takes long enough to fill a ring, and clients are served on this thread.
            context.identity.catch_up();
            tokio::task::yield_now().await;
        }
        self.states.clone()
    }
}

fn check_one(unit: &Unit<PolicyPart>, active: &PolicySet, context: &PolicyContext<'_>) -> UnitState {
    let beside = active.units.values().map(|unit| PolicyInput {
        source: unit.source.clone(),
        wanted: unit.version.clone(),
        former: None,
    });
    let wanted = PolicyVersion { id: CHECKED, part: Arc::new(unit.content.clone()) };
    let checked = PolicyInput { source: unit.source.clone(), wanted, former: None };
    let inputs: Vec<PolicyInput> = beside.chain([checked]).collect();
    let mut compiled = compile(&inputs, context.kernel, &active.compiled);
    match compiled.refused.remove(&CHECKED).and_then(|problems| problems.into_iter().next()) {
        Some(problem) => UnitState::Refused(problem),
        None => UnitState::Active { notes: compiled.notes.remove(&CHECKED).unwrap_or_default() },
    }
}
