//! An attach point with its program, and the losses of its policies.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::hook::HookProgram;
use crate::plan::policy::{AttachPoint, HookPlan, PolicyId, change::MapsChange};

/// What hooks need that change.
#[derive(Default)]
pub(super) struct PreparedHooks {
    /// Loaded programs, with the plans that they were loaded for.
    pub(super) programs: BTreeMap<AttachPoint, (HookPlan, HookProgram)>,
    /// Hooks that keep their programs.
    pub(super) changes: BTreeMap<AttachPoint, Box<MapsChange>>,
}

/// An attach point whose program is attached.
pub(super) struct ActiveHook {
    pub(super) program: HookProgram,
    /// Policies by selector bit, and what was counted of each bit's losses.
    counted: Mutex<BTreeMap<u16, (PolicyId, u64)>>,
}

impl ActiveHook {
    pub(super) fn new(program: HookProgram, plan: &HookPlan) -> Self {
        let hook = Self { program, counted: Mutex::default() };
        hook.set_policies(plan);
        hook
    }

    /// The plan's bits; a bit of the same policy keeps its count.
    pub(super) fn set_policies(&self, plan: &HookPlan) {
        let mut counted = self.counted.lock();
        let before = std::mem::take(&mut *counted);
        for selector in &plan.selectors {
            let known = before.get(&selector.bit).filter(|(policy, _)| *policy == selector.policy);
            counted.insert(selector.bit, known.copied().unwrap_or((selector.policy, 0)));
        }
    }

    /// Records that had no room in a ring, by policy; and calls that the kernel skipped, which may have been any policy's.
    pub(super) fn new_losses(&self) -> Vec<(PolicyId, u64)> {
        let misses = self.program.new_misses();
        let mut losses: BTreeMap<PolicyId, u64> = BTreeMap::new();
        let Some(lost) = self.program.lost_records() else { return Vec::new() };
        for (bit, (policy, counted)) in &mut *self.counted.lock() {
            let total = lost(*bit);
            *losses.entry(*policy).or_insert(misses) += total.saturating_sub(*counted);
            *counted = total;
        }
        losses.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}
