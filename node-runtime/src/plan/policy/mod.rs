//! Policies -> one plan for each attach point. Pure: what is asked of the kernel goes through `Kernel`.

mod action;
mod argument;
mod attach;
pub mod attach_point;
pub mod automaton;
pub mod binaries;
mod bits;
mod call;
pub mod change;
pub mod dimension;
pub mod explain;
pub mod facts;
mod filter;
pub mod format;
pub mod hook_plan;
#[cfg(test)]
mod interpret;
mod item;
pub mod kernel_view;
pub mod machine;
mod merge;
mod note;
pub mod predicate;
mod ranges;
mod request;
mod row;
pub mod syscalls;
mod table;
pub mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trilobite_crds::node::{PolicyPart, Source};

use self::{
    attach::{Naming, attachment},
    dimension::{DimensionKind, DimensionTable},
    merge::{HookPolicy, Merged, merge},
    request::{EntryRequest, PolicyRequest, request},
    table::build_tables,
};
pub use self::{
    attach_point::{AttachMethod, AttachPoint, Attachment, PassedOver},
    binaries::BinaryTables,
    change::{Change, change},
    hook_plan::{HookPlan, PolicyId, Width},
    kernel_view::Kernel,
};
use crate::problem::Problem;

/// A version of a policy.
#[derive(Clone, Debug)]
pub struct PolicyVersion {
    pub id: PolicyId,
    pub part: Arc<PolicyPart>,
}

/// A policy that is wanted.
#[derive(Clone, Debug)]
pub struct PolicyInput {
    pub source: Source,
    pub wanted: PolicyVersion,
    /// The version that is active now, where it is another: it stays when the wanted one is refused, and its bits are not
    /// given away before the flip.
    pub former: Option<PolicyVersion>,
}

/// The plans of all hooks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    pub hooks: BTreeMap<AttachPoint, HookPlan>,
    pub binaries: BinaryTables,
    /// Versions that are part of the plans.
    pub planned: BTreeSet<PolicyId>,
    /// Wanted versions that this kernel cannot have, with every reason, each with the user's field.
    pub refused: BTreeMap<PolicyId, Vec<Problem>>,
    /// What users should know of versions that are active, e.g. functions that `ignore.callNotFound` left out.
    pub notes: BTreeMap<PolicyId, Vec<Problem>>,
}

/// A version that may become part of the plans.
struct Candidate {
    former: Option<PolicyId>,
    request: PolicyRequest,
    /// What takes its place when it is refused.
    fallback: Option<(PolicyId, PolicyRequest)>,
}

/// What policies ask of one attach point, or of several functions of a list that share a plan.
struct HookGroup<'a> {
    further_functions: Vec<String>,
    naming: Naming,
    policies: Vec<HookPolicy<'a>>,
}

/// Plans all hooks. `active` are the plans that the kernel has now: policies keep their bits, ids and order of dimensions.
pub fn compile(policies: &[PolicyInput], kernel: &dyn Kernel, active: &Compiled) -> Compiled {
    let mut compiled = Compiled::default();
    let mut drafts = BinaryTables { followed: active.binaries.followed.clone(), ..BinaryTables::default() };
    let mut candidates: BTreeMap<PolicyId, Candidate> = BTreeMap::new();
    for input in policies {
        let former = input.former.as_ref();
        let mut request = |version: &PolicyVersion| {
            // What is planned already has been checked.
            request(&input.source, &version.part, kernel, &mut drafts, active.planned.contains(&version.id))
        };
        let fallback = former.and_then(|former| Some((former.id, request(former).ok()?)));
        match request(&input.wanted) {
            Ok(request) => {
                let former = former.map(|former| former.id);
                candidates.insert(input.wanted.id, Candidate { former, request, fallback });
            }
            Err(problems) => {
                compiled.refused.insert(input.wanted.id, problems);
                candidates.extend(fallback.map(Candidate::of_former));
            }
        }
    }
    let merged = loop {
        let merged = merge_all(&candidates, kernel, active);
        let mut refused: BTreeMap<PolicyId, Vec<Problem>> = BTreeMap::new();
        for (id, problem) in merged.iter().flat_map(|(_, merged)| merged.refused.iter().cloned()) {
            refused.entry(id).or_default().push(problem);
        }
        if refused.is_empty() {
            break merged;
        }
        for (id, problems) in refused {
            let fallback = candidates.remove(&id).and_then(|candidate| candidate.fallback);
            candidates.extend(fallback.map(Candidate::of_former));
            compiled.refused.insert(id, problems);
        }
    };
    // Selectors that leave need their ids until they are flipped away.
    let plans = merged.iter().map(|(_, merged)| &merged.plan).chain(active.hooks.values());
    let predicates = plans.flat_map(|plan| &plan.selectors).flat_map(|selector| &selector.predicates);
    compiled.binaries = BinaryTables::build(predicates, drafts.followed, &active.binaries);
    for (point, Merged { mut plan, .. }) in merged {
        if let Some(unchanged) = unchanged_tables(&plan, &compiled.binaries, active) {
            plan.tables = unchanged;
            compiled.hooks.insert(point, plan);
            continue;
        }
        let selectors: Vec<_> = plan.selectors.iter().collect();
        match build_tables(&plan.dimensions, &selectors, plan.width, &compiled.binaries) {
            Ok(tables) => {
                plan.tables = tables.into();
                compiled.hooks.insert(point, plan);
            }
            // `merge` has counted the states, so this hook would be a fault of ours: no policy is silently without it.
            Err(automaton::TooLarge) => {
                for entry in &plan.entries {
                    let problem = Problem::TooManySelectors {
                        detail: "the values of SubString are too many for one automaton; use fewer".into(),
                        field: format!("{}.selectors", entry.field),
                    };
                    compiled.refused.entry(entry.policy).or_default().push(problem);
                    candidates.remove(&entry.policy);
                }
            }
        }
    }
    compiled.planned = candidates.keys().copied().collect();
    compiled.notes = candidates.into_iter().map(|(id, candidate)| (id, candidate.request.notes)).collect();
    compiled.notes.retain(|_, notes| !notes.is_empty());
    compiled
}

/// The tables of the active plan, or none where they were dropped, if the wanted plan's are the same.
fn unchanged_tables(plan: &HookPlan, binaries: &BinaryTables, active: &Compiled) -> Option<Arc<[DimensionTable]>> {
    let before = active.hooks.get(&plan.point)?;
    let has_ids = plan.dimensions.iter().any(|dimension| dimension.kind == DimensionKind::Id);
    let is_same = change::program_reason(before, plan).is_none()
        && before.selectors == plan.selectors
        && (!has_ids || active.binaries == *binaries);
    is_same.then(|| before.tables.clone())
}

impl Compiled {
    /// Drops what was needed to write the maps, which have it now.
    pub fn drop_tables(&mut self) {
        self.hooks.values_mut().for_each(|plan| plan.tables = Arc::default());
    }
}

impl Candidate {
    fn of_former((id, request): (PolicyId, PolicyRequest)) -> (PolicyId, Self) {
        (id, Self { former: None, request, fallback: None })
    }
}

fn merge_all(
    candidates: &BTreeMap<PolicyId, Candidate>,
    kernel: &dyn Kernel,
    active: &Compiled,
) -> Vec<(AttachPoint, Merged)> {
    let groups = group(candidates, kernel).into_iter();
    let merged = groups.map(|(point, group)| {
        let attachment = attachment(&point, group.naming, kernel);
        let mut merged = merge(&point, &attachment, &group.policies, active.hooks.get(&point));
        merged.plan.further_functions = group.further_functions;
        (point, merged)
    });
    merged.collect()
}

/// Collects the policies of each attach point; functions of lists of which all the same is asked become one.
fn group<'a>(
    candidates: &'a BTreeMap<PolicyId, Candidate>,
    kernel: &dyn Kernel,
) -> BTreeMap<AttachPoint, HookGroup<'a>> {
    let mut points: BTreeMap<&AttachPoint, Vec<HookPolicy<'a>>> = BTreeMap::new();
    for (id, candidate) in candidates {
        for (point, entries) in &candidate.request.hooks {
            let policy = HookPolicy { id: *id, former: candidate.former, entries };
            points.entry(point).or_default().push(policy);
        }
    }
    let mut groups: BTreeMap<AttachPoint, HookGroup<'a>> = BTreeMap::new();
    // The first function of each group, by what is asked of it.
    let mut firsts: BTreeMap<Vec<(PolicyId, &str)>, Vec<AttachPoint>> = BTreeMap::new();
    for (point, policies) in points {
        let mut entries = policies.iter().flat_map(|policy| policy.entries);
        let is_list = point.is_function() && entries.clone().all(|entry| entry.is_list);
        let may_share = is_list && kernel.has_kprobe_multi() && !entries.any(|entry| entry.is_attached_alone);
        let naming = if is_list { Naming::OneOfList } else { Naming::One };
        if may_share {
            let fields =
                policies.iter().flat_map(|policy| policy.entries.iter().map(|entry| (policy.id, entry.field.as_str())));
            let known = firsts.entry(fields.collect()).or_default();
            let same = known.iter().find(|first| {
                first.has_return() == point.has_return()
                    && syscalls::is_compat(first.name()) == syscalls::is_compat(point.name())
                    && groups.get(*first).is_some_and(|group| asks_the_same(&group.policies, &policies))
            });
            if let Some(group) = same.and_then(|first| groups.get_mut(first)) {
                group.further_functions.push(point.name().to_owned());
                group.naming = Naming::Shared(group.further_functions.len() + 1);
                continue;
            }
            known.push(point.clone());
        }
        groups.insert(point.clone(), HookGroup { further_functions: Vec::new(), naming, policies });
    }
    groups
}

fn asks_the_same(one: &[HookPolicy<'_>], other: &[HookPolicy<'_>]) -> bool {
    let same_entries = |one: &[EntryRequest], other: &[EntryRequest]| one == other;
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.id == other.id && same_entries(one.entries, other.entries))
}

#[cfg(test)]
mod tests;
