//! Active policies. A policy is a set of selectors in the hooks that it names; hooks are shared by all policies.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    os::fd::AsFd,
    sync::Arc,
    time::Instant,
};

use trilobite_crds::node::{PodScope, PolicyPart, Source, SourceKind};

use super::{
    active_hook::{ActiveHook, PreparedHooks},
    hook::{ClassBook, HookContext, HookProgram},
    registry::{HookRegistry, PolicyNames},
    rings::{HookRings, RecordReader},
};
use crate::{
    identity::{ClassAnswers, ClassSubscription, IdentityService, ProcessLease, ScopeLease},
    kernel::{Facts, grace},
    layers::security::deliver::{EventConsumer, EventDispatcher},
    loss::{Ledger, LossPoint},
    plan::{
        Unit, UnitKey, UnitState,
        policy::{
            AttachPoint, BinaryTables, Change, Compiled, HookPlan, Kernel, PolicyId, PolicyInput, PolicyVersion,
            change, compile,
        },
    },
    problem::Problem,
};

/// What loading policies depends on.
#[derive(Clone, Copy)]
pub(in crate::layers::security) struct PolicyContext<'a> {
    pub(in crate::layers::security) identity: &'a IdentityService,
    pub(in crate::layers::security) dispatcher: &'a Arc<EventDispatcher>,
    pub(in crate::layers::security) facts: &'a Facts,
    pub(in crate::layers::security) kernel: &'a dyn Kernel,
}

pub(in crate::layers::security) struct PolicySet {
    pub(super) units: BTreeMap<UnitKey, ActivePolicy>,
    pub(super) compiled: Compiled,
    pub(super) hooks: BTreeMap<AttachPoint, ActiveHook>,
    pub(super) rings: Option<HookRings>,
    pub(super) classes: ClassBook,
    class_subscription: Option<ClassSubscription>,
    /// Scopes of all selectors, by their text.
    scopes: BTreeMap<String, ScopeLease>,
    /// Events name their processes, which are therefore followed while there are policies.
    processes: Option<ProcessLease>,
    pub(super) registry: HookRegistry,
    next_policy: u32,
    pub(super) next_hook: u32,
}

/// A version of a policy whose selectors are active.
#[derive(Clone)]
pub(super) struct ActivePolicy {
    pub(super) source: Source,
    pub(super) version: PolicyVersion,
    pub(super) consumer: Arc<EventConsumer>,
}

/// A policy that shall be active, and the version that is.
struct Candidate {
    key: UnitKey,
    wanted: ActivePolicy,
    former: Option<(UnitKey, ActivePolicy)>,
}

impl PolicySet {
    pub(in crate::layers::security) fn new() -> Self {
        Self {
            units: BTreeMap::new(),
            compiled: Compiled::default(),
            hooks: BTreeMap::new(),
            rings: None,
            classes: ClassBook::default(),
            class_subscription: None,
            scopes: BTreeMap::new(),
            processes: None,
            registry: HookRegistry::default(),
            next_policy: 1,
            next_hook: 1,
        }
    }

    pub(in crate::layers::security) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub(in crate::layers::security) fn consumers(&self) -> impl Iterator<Item = (&UnitKey, &Arc<EventConsumer>)> {
        self.units.iter().map(|(key, unit)| (key, &unit.consumer))
    }

    /// Activates the planned policies and deactivates all others. A version that fails, here or in the plan, leaves the
    /// version before it active; `is_refused` says of which resources the plan has refused a version.
    pub(in crate::layers::security) async fn apply(
        &mut self,
        planned: &BTreeMap<UnitKey, Unit<PolicyPart>>,
        is_refused: impl Fn(&UnitKey) -> bool,
        context: &PolicyContext<'_>,
    ) -> BTreeMap<UnitKey, UnitState> {
        let begun = Instant::now();
        let candidates = self.candidates(planned, is_refused);
        if candidates.is_empty() && self.units.is_empty() {
            return BTreeMap::new();
        }
        let mut failed: BTreeMap<PolicyId, Problem> = BTreeMap::new();
        let all: BTreeSet<PolicyId> = candidates.iter().map(|candidate| candidate.wanted.version.id).collect();
        if let Err(problem) = self.acquire_shared(&candidates, context) {
            failed.extend(all.into_iter().map(|id| (id, problem.clone())));
        }
        let (compiled, prepared) = self.prepare(&candidates, &mut failed, context).await;
        let refused = |id: &PolicyId| compiled.refused.get(id).and_then(|problems| problems.first()).cloned();
        let mut units = BTreeMap::new();
        let mut states = BTreeMap::new();
        for candidate in &candidates {
            let id = candidate.wanted.version.id;
            let notes = compiled.notes.get(&id).cloned().unwrap_or_default();
            let (active, state) = match failed.get(&id).cloned().or_else(|| refused(&id)) {
                Some(problem) => (candidate.former.clone(), UnitState::Refused(problem)),
                None => (Some((candidate.key.clone(), candidate.wanted.clone())), UnitState::Active { notes }),
            };
            units.extend(active);
            if planned.contains_key(&candidate.key) {
                states.insert(candidate.key.clone(), state);
            }
        }
        if let Some(active) = self.commit(compiled, prepared, units, context) {
            let milliseconds = active.duration_since(begun).as_secs_f64() * 1e3;
            tracing::info!(policies = self.units.len(), milliseconds, "policies changed");
        }
        self.release_unused(context.identity);
        states
    }

    /// Every policy that is planned, or that stays because a newer version of it was refused before.
    fn candidates(
        &mut self,
        planned: &BTreeMap<UnitKey, Unit<PolicyPart>>,
        is_refused: impl Fn(&UnitKey) -> bool,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let active: BTreeMap<_, _> = self.units.iter().map(|(key, unit)| (resource(key), (key, unit))).collect();
        for (key, unit) in planned {
            let former = active.get(&resource(key)).map(|(key, unit)| (UnitKey::clone(key), ActivePolicy::clone(unit)));
            let unchanged = former.as_ref().filter(|(other, _)| other == key).map(|(_, unit)| unit.clone());
            let wanted = unchanged.unwrap_or_else(|| {
                let id = PolicyId(self.next_policy);
                self.next_policy = self.next_policy.wrapping_add(1);
                let part = Arc::new(unit.content.clone());
                let consumer = Arc::new(EventConsumer::new(unit.source.to_string(), part.pods.clone()));
                ActivePolicy { source: unit.source.clone(), version: PolicyVersion { id, part }, consumer }
            });
            candidates.push(Candidate { key: key.clone(), wanted, former });
        }
        let planned: BTreeSet<_> = planned.keys().map(resource).collect();
        for (key, unit) in &self.units {
            if !planned.contains(&resource(key)) && is_refused(key) {
                let former = Some((key.clone(), unit.clone()));
                candidates.push(Candidate { key: key.clone(), wanted: unit.clone(), former });
            }
        }
        candidates
    }

    /// Rings, classes and processes, which all hooks share.
    fn acquire_shared(&mut self, candidates: &[Candidate], context: &PolicyContext<'_>) -> Result<(), Problem> {
        let PolicyContext { identity, dispatcher, .. } = *context;
        let Some(bytes) = candidates.iter().map(|candidate| candidate.wanted.version.part.ring_bytes).max() else {
            return Ok(());
        };
        if self.processes.is_none() {
            self.processes = Some(identity.follow_processes(None, None)?);
        }
        if self.class_subscription.is_none() {
            let classes = self.classes.clone();
            let listener = move |class: u32, answers: &ClassAnswers| classes.set_answers(class, answers);
            self.class_subscription = Some(identity.subscribe_classes(Box::new(listener)));
        }
        if self.rings.as_ref().is_some_and(|rings| rings.bytes != bytes) {
            self.leave_rings();
        }
        if self.rings.is_none() {
            let reader = RecordReader {
                hooks: self.registry.clone(),
                identity: identity.clone(),
                dispatcher: dispatcher.clone(),
                symbols: Arc::default(),
            };
            self.rings = Some(HookRings::start(bytes, reader)?);
        }
        Ok(())
    }

    /// Detaches all hooks from rings of another size; what is wanted is loaded again.
    fn leave_rings(&mut self) {
        self.hooks.values_mut().for_each(|hook| hook.program.detach());
        log_grace(grace::wait_for_programs());
        if let Some(rings) = self.rings.take() {
            rings.drain();
        }
        for hook in std::mem::take(&mut self.hooks).into_values() {
            self.classes.remove_hook(&hook.program.class_rows);
            self.registry.remove(hook.program.hook_id);
        }
        self.compiled.hooks.clear();
        // The new maps have no ids yet.
        let followed = std::mem::take(&mut self.compiled.binaries.followed);
        self.compiled.binaries = BinaryTables { followed, ..BinaryTables::default() };
    }

    /// Plans all hooks, and loads the programs that the plans need. Policies that a hook's refusal concerns are left out.
    async fn prepare(
        &mut self,
        candidates: &[Candidate],
        failed: &mut BTreeMap<PolicyId, Problem>,
        context: &PolicyContext<'_>,
    ) -> (Compiled, PreparedHooks) {
        let mut prepared = PreparedHooks::default();
        loop {
            let inputs: Vec<PolicyInput> = candidates.iter().filter_map(|it| it.input(failed)).collect();
            let compiled = compile(&inputs, context.kernel, &self.compiled);
            // Planning many hooks takes long enough to fill a ring.
            context.identity.catch_up();
            tokio::task::yield_now().await;
            let Err((concerned, problem)) = self.prepare_hooks(&compiled, &mut prepared, context).await else {
                prepared.programs.retain(|point, (plan, _)| compiled.hooks.get(point) == Some(plan));
                return (compiled, prepared);
            };
            // The newest versions are at fault; where there are none, an active policy cannot stay.
            let is_new = |id: &PolicyId| !self.units.values().any(|unit| unit.version.id == *id);
            let new: Vec<PolicyId> = concerned.iter().copied().filter(is_new).collect();
            let at_fault = if new.is_empty() { concerned } else { new };
            failed.extend(at_fault.into_iter().map(|id| (id, problem.clone())));
        }
    }

    /// On an error, the policies that it concerns.
    async fn prepare_hooks(
        &mut self,
        compiled: &Compiled,
        prepared: &mut PreparedHooks,
        context: &PolicyContext<'_>,
    ) -> Result<(), (Vec<PolicyId>, Problem)> {
        for plan in compiled.hooks.values() {
            for selector in &plan.selectors {
                self.acquire_scope(&selector.scope, context.identity)
                    .map_err(|problem| (vec![selector.policy], problem))?;
            }
        }
        context.identity.follow_conditions(&compiled.binaries.followed).map_err(|problem| {
            let policies: BTreeSet<PolicyId> = compiled.hooks.values().flat_map(HookPlan::following_policies).collect();
            (policies.into_iter().collect(), problem)
        })?;
        prepared.changes.clear();
        for (point, plan) in &compiled.hooks {
            if prepared.programs.get(point).is_some_and(|(known, _)| known == plan) {
                continue;
            }
            match change(self.compiled.hooks.get(point), plan, &compiled.binaries) {
                Change::Nothing => continue,
                Change::Maps(maps) => {
                    prepared.changes.insert(point.clone(), maps);
                    continue;
                }
                Change::Program(_) => {}
            }
            let concerned = || plan.entries.iter().map(|entry| entry.policy).collect::<BTreeSet<_>>();
            let loaded = self.load_hook(plan, context);
            // Clients and health checks are served on this thread.
            tokio::task::yield_now().await;
            match loaded {
                Ok(program) => drop(prepared.programs.insert(point.clone(), (plan.clone(), program))),
                Err(problem) => return Err((concerned().into_iter().collect(), problem)),
            }
        }
        Ok(())
    }

    pub(super) fn load_hook(
        &mut self,
        plan: &crate::plan::policy::HookPlan,
        context: &PolicyContext<'_>,
    ) -> Result<HookProgram, Problem> {
        let unavailable = |detail: &str| Problem::LoadFailed { what: "loading a hook".into(), detail: detail.into() };
        let selection = context.identity.selection_maps();
        let selection = selection.ok_or_else(|| unavailable("this process may not open more files"))?;
        let rings = self.rings.as_ref().ok_or_else(|| unavailable("its rings could not be made"))?;
        let hook_id = self.next_hook;
        self.next_hook = self.next_hook.wrapping_add(1);
        let processes = context.identity.process_map().ok_or_else(|| unavailable("processes are not recorded"))?;
        let hook = HookContext {
            facts: context.facts,
            kernel: context.kernel,
            selection: &selection,
            processes: processes.as_fd(),
            shared: &rings.maps,
        };
        let loaded = HookProgram::load(hook_id, plan, &hook);
        // The same thread loads and reads; many hooks take long enough to fill the rings.
        context.identity.catch_up();
        rings.drain();
        loaded
    }

    fn acquire_scope(&mut self, scope: &PodScope, identity: &IdentityService) -> Result<(), Problem> {
        if let Entry::Vacant(entry) = self.scopes.entry(scope_key(scope)) {
            entry.insert(identity.select(scope)?);
        }
        Ok(())
    }

    pub(super) fn scope_id(&self, scope: &PodScope) -> Option<u32> {
        self.scopes.get(&scope_key(scope)).map(ScopeLease::id)
    }

    /// Drops what no active policy needs.
    fn release_unused(&mut self, identity: &IdentityService) {
        let selectors = self.compiled.hooks.values().flat_map(|plan| &plan.selectors);
        let used: BTreeSet<String> = selectors.map(|selector| scope_key(&selector.scope)).collect();
        self.scopes.retain(|key, _| used.contains(key));
        if self.units.is_empty() {
            self.rings = None;
            self.class_subscription = None;
            self.classes = ClassBook::default();
            self.compiled = Compiled::default();
            if let Err(problem) = identity.follow_conditions(&BTreeMap::new()) {
                tracing::warn!("{}", problem.message());
            }
            self.processes = None;
        }
    }

    /// Reads the kernel's loss counters into the ledger.
    pub(in crate::layers::security) fn count_losses(&self, ledger: &Ledger) {
        if let Some(rings) = &self.rings {
            ledger.record_loss(LossPoint::PolicyRing, "", rings.new_undecided_calls());
        }
        let mut losses: BTreeMap<PolicyId, u64> = BTreeMap::new();
        for (policy, count) in self.hooks.values().flat_map(ActiveHook::new_losses) {
            *losses.entry(policy).or_default() += count;
        }
        for unit in self.units.values() {
            if let Some(count) = losses.get(&unit.version.id) {
                ledger.record_loss(LossPoint::PolicyRing, &unit.consumer.name, *count);
            }
        }
    }

    /// How events name the policies of these units.
    pub(super) fn names<'a>(units: impl Iterator<Item = &'a ActivePolicy>) -> BTreeMap<PolicyId, PolicyNames> {
        units
            .map(|unit| {
                let names = PolicyNames {
                    policy: unit.source.name.as_str().into(),
                    namespace: unit.source.namespace.as_deref().unwrap_or_default().into(),
                    part: unit.version.part.clone(),
                    consumer: unit.consumer.clone(),
                };
                (unit.version.id, names)
            })
            .collect()
    }
}

impl Candidate {
    /// What the compiler is asked for: the wanted version, or the former one where the wanted one has failed.
    fn input(&self, failed: &BTreeMap<PolicyId, Problem>) -> Option<PolicyInput> {
        let former = self.former.as_ref().map(|(_, unit)| unit.version.clone());
        let source = self.wanted.source.clone();
        let wanted = self.wanted.version.clone();
        if !failed.contains_key(&wanted.id) {
            let former = former.filter(|former| former.id != wanted.id);
            return Some(PolicyInput { source, wanted, former });
        }
        let wanted = former.filter(|former| !failed.contains_key(&former.id))?;
        Some(PolicyInput { source, wanted, former: None })
    }
}

pub(super) fn log_grace(waited: libbpf_rs::Result<()>) {
    if let Err(error) = waited {
        tracing::warn!(%error, "detached programs may still run: their last records are not read");
    }
}

/// Equal scopes have one text.
fn scope_key(scope: &PodScope) -> String {
    serde_json::to_string(scope).unwrap_or_default()
}

/// What versions of one resource have in common.
pub(super) fn resource(key: &UnitKey) -> (SourceKind, &str) {
    (key.kind, &key.name)
}

/// Two versions of one resource.
pub(in crate::layers::security) fn same_resource(a: &UnitKey, b: &UnitKey) -> bool {
    resource(a) == resource(b)
}
