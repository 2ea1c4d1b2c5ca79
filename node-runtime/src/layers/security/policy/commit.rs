//! Makes planned hooks active: first all that programs find while no class has the new selectors, then one word for each class,
//! then, after a grace period, what is left of the old ones.

use std::{collections::BTreeMap, time::Instant};

use super::{
    active_hook::{ActiveHook, PreparedHooks},
    binaries::{add_ids, remove_ids},
    hook::{ActiveBit, HookProgram, TableError},
    registry::{PolicyNames, hook_info},
    set::{ActivePolicy, PolicyContext, PolicySet, log_grace},
};
use crate::{
    kernel::{clock, grace},
    loss::LossPoint,
    plan::{
        UnitKey,
        policy::{AttachPoint, Compiled, HookPlan, PolicyId, change::MapsChange},
    },
};

/// What happens to one hook.
enum Step {
    /// Its program stays.
    Maps { final_tables: bool },
    /// Another program takes over.
    Program(Box<HookProgram>),
}

impl PolicySet {
    /// `units` are the policies that are active afterwards. Returns when they became active, where a hook has changed.
    pub(super) fn commit(
        &mut self,
        compiled: Compiled,
        PreparedHooks { mut programs, mut changes }: PreparedHooks,
        units: BTreeMap<UnitKey, ActivePolicy>,
        context: &PolicyContext<'_>,
    ) -> Option<Instant> {
        let names = Self::names(units.values().chain(self.units.values()));
        let mut steps: BTreeMap<AttachPoint, Step> = BTreeMap::new();
        for (point, plan) in &compiled.hooks {
            if let Some((_, program)) = programs.remove(point) {
                steps.insert(point.clone(), Step::Program(Box::new(program)));
            } else if let Some(maps) = changes.remove(point)
                && let Some(step) = self.write_dormant(point, plan, &maps, context)
            {
                steps.insert(point.clone(), step);
            }
        }
        if let Some(rings) = &self.rings
            && let Err(problem) = add_ids(&rings.maps, &self.compiled.binaries, &compiled.binaries)
        {
            tracing::error!("{}", problem.message());
        }
        for (point, plan) in &compiled.hooks {
            let active = self.compiled.hooks.get(point);
            match (steps.get(point), self.hooks.get(point)) {
                (Some(Step::Program(program)), _) => {
                    self.registry.insert(program.hook_id, hook_info(plan, None, &names, None));
                }
                (Some(Step::Maps { .. }), Some(hook)) => {
                    let known = self.registry.info(hook.program.hook_id);
                    let info = hook_info(plan, active, &names, known.as_deref());
                    self.registry.insert(hook.program.hook_id, info);
                }
                _ => {}
            }
        }
        let changes_hooks = !steps.is_empty();
        let old = self.flip(&compiled, &mut steps);
        let flipped = (changes_hooks || !old.is_empty()).then(Instant::now);
        self.settle(compiled, steps, old, units, &names);
        flipped
    }

    /// Writes what a hook needs that keeps its program; none where that failed.
    fn write_dormant(
        &mut self,
        point: &AttachPoint,
        plan: &HookPlan,
        maps: &MapsChange,
        context: &PolicyContext<'_>,
    ) -> Option<Step> {
        let hook = self.hooks.get_mut(point)?;
        match hook.program.write_tables(plan, &maps.during, &maps.new_bits) {
            Ok(()) => Some(Step::Maps { final_tables: true }),
            Err(TableError::Full) => match self.load_hook(plan, context) {
                Ok(program) => Some(Step::Program(Box::new(program))),
                Err(problem) => {
                    tracing::error!(hook = %point, "{}", problem.message());
                    None
                }
            },
            Err(TableError::Refused(problem)) => {
                tracing::error!(hook = %point, "{}", problem.message());
                None
            }
        }
    }

    /// Activates the new selectors and deactivates the old ones; returns the programs that are replaced or not needed any more.
    fn flip(&mut self, compiled: &Compiled, steps: &mut BTreeMap<AttachPoint, Step>) -> Vec<ActiveHook> {
        let mut old = Vec::new();
        for (point, plan) in &compiled.hooks {
            match steps.remove(point) {
                Some(Step::Program(program)) => {
                    self.classes.add_hook(&program.class_rows);
                    let hook = ActiveHook::new(*program, plan);
                    let before = self.hooks.insert(point.clone(), hook);
                    let program = &self.hooks[point].program;
                    self.classes.flip(&program.class_rows, self.active_bits(plan));
                    // All programs run for a moment: a record's time says whose it is.
                    let now = clock::boot_ns();
                    self.registry.begin(program.hook_id, now);
                    if let Some(before) = before {
                        self.registry.end(before.program.hook_id, now);
                        self.classes.flip(&before.program.class_rows, Vec::new());
                        old.push(before);
                    }
                }
                Some(step @ Step::Maps { .. }) => {
                    if let Some(hook) = self.hooks.get(point) {
                        self.classes.flip(&hook.program.class_rows, self.active_bits(plan));
                    }
                    steps.insert(point.clone(), step);
                }
                None => {}
            }
        }
        let gone: Vec<AttachPoint> =
            self.hooks.keys().filter(|point| !compiled.hooks.contains_key(*point)).cloned().collect();
        for hook in gone.iter().filter_map(|point| self.hooks.remove(point)) {
            self.classes.flip(&hook.program.class_rows, Vec::new());
            old.push(hook);
        }
        old
    }

    fn active_bits(&self, plan: &HookPlan) -> Vec<ActiveBit> {
        let bits = plan
            .selectors
            .iter()
            .filter_map(|selector| Some(ActiveBit { bit: selector.bit, scope: self.scope_id(&selector.scope)? }));
        bits.collect()
    }

    /// After the flip: removes what only the old selectors needed, when no call can see them any more.
    fn settle(
        &mut self,
        compiled: Compiled,
        steps: BTreeMap<AttachPoint, Step>,
        mut old: Vec<ActiveHook>,
        units: BTreeMap<UnitKey, ActivePolicy>,
        names: &BTreeMap<PolicyId, PolicyNames>,
    ) {
        let has_changed = !old.is_empty() || !steps.is_empty();
        old.iter_mut().for_each(|hook| hook.program.detach());
        if has_changed {
            log_grace(grace::wait_for_programs());
            if let Some(rings) = &self.rings {
                rings.drain();
            }
        }
        for hook in &old {
            self.record_losses(hook, names);
            self.classes.remove_hook(&hook.program.class_rows);
            self.registry.remove(hook.program.hook_id);
        }
        for (point, plan) in &compiled.hooks {
            let Some(Step::Maps { final_tables: true }) = steps.get(point) else { continue };
            let Some(hook) = self.hooks.get(point) else { continue };
            self.record_losses(hook, names);
            hook.set_policies(plan);
            let known = self.registry.info(hook.program.hook_id);
            self.registry.insert(hook.program.hook_id, hook_info(plan, None, names, known.as_deref()));
            let Some(hook) = self.hooks.get_mut(point) else { continue };
            hook.program.release_retired();
            if let Err(TableError::Refused(problem)) = hook.program.write_tables(plan, &plan.tables, &[]) {
                tracing::error!(hook = %point, "{}", problem.message());
            }
        }
        if let Some(rings) = &self.rings {
            remove_ids(&rings.maps, &self.compiled.binaries, &compiled.binaries);
        }
        self.compiled = compiled;
        self.compiled.drop_tables();
        self.units = units;
    }

    fn record_losses(&self, hook: &ActiveHook, names: &BTreeMap<PolicyId, PolicyNames>) {
        let Some(rings) = &self.rings else { return };
        for (policy, count) in hook.new_losses() {
            if let Some(names) = names.get(&policy) {
                rings.record_loss(LossPoint::PolicyRing, &names.consumer.name, count);
            }
        }
    }
}
