//! The requests of all policies on one attach point -> one plan: values and dimensions together, bits for each selector.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    attach_point::{AttachPoint, Attachment},
    automaton::{self, MAX_STATES},
    bits::{self, Allocation, BitRequest},
    dimension::{DimensionKind, DimensionPlan, MAX_DIMENSIONS, Operand, ValueFacet},
    hook_plan::{
        ActionParts, ActionPlan, HookEntry, HookPlan, MAX_POLICY_SELECTORS, PolicyId, SelectorPlan, ShownValue,
    },
    predicate::{Predicate, ValueSet},
    request::EntryRequest,
    value::{MAX_VALUES, ValuePlan},
};
use crate::problem::Problem;

/// What one policy asks of the attach point.
#[derive(Clone, Copy, Debug)]
pub(super) struct HookPolicy<'a> {
    pub(super) id: PolicyId,
    /// The active version that it replaces.
    pub(super) former: Option<PolicyId>,
    pub(super) entries: &'a [EntryRequest],
}

/// The plan, still without tables, and the policies that found no room in it.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) plan: HookPlan,
    pub(super) refused: Vec<(PolicyId, Problem)>,
}

/// Merges policies. What the active plan reads and compares stays where nothing else is needed, so that only maps change.
pub(super) fn merge(
    point: &AttachPoint,
    attachment: &Attachment,
    policies: &[HookPolicy<'_>],
    active: Option<&HookPlan>,
) -> Merged {
    let active = active.map(ActivePlan::new);
    let active = active.as_ref();
    let mut ordered = policies.to_vec();
    let is_active = |id: PolicyId| active.is_some_and(|active| active.substring_ordinals.contains_key(&id));
    ordered.sort_by_cached_key(|policy| {
        let stays = is_active(policy.id) || policy.former.is_some_and(is_active);
        (!stays, policy.id)
    });
    let attempt = |base: Option<&HookPlan>| {
        let mut merger = Merger::new(base);
        ordered.iter().for_each(|policy| merger.add(policy, active));
        merger.finish(point, attachment, active.map(|active| active.plan))
    };
    if let Some(ActivePlan { plan, .. }) = active {
        let kept = attempt(Some(plan));
        if kept.refused.is_empty() && kept.plan.values == plan.values && kept.plan.dimensions == plan.dimensions {
            return kept;
        }
    }
    attempt(None)
}

/// The plan that the kernel has now.
struct ActivePlan<'a> {
    plan: &'a HookPlan,
    /// Of each of its policies: the automatons in which it has its patterns, in the order of its predicates.
    substring_ordinals: BTreeMap<PolicyId, Vec<u8>>,
}

impl<'a> ActivePlan<'a> {
    fn new(plan: &'a HookPlan) -> Self {
        let mut substring_ordinals: BTreeMap<PolicyId, Vec<u8>> = BTreeMap::new();
        substring_ordinals.extend(plan.entries.iter().map(|entry| (entry.policy, Vec::new())));
        for selector in &plan.selectors {
            let dimensions = selector.predicates.iter().map(|predicate| predicate.dimension);
            let patterns = dimensions.filter(|dimension| dimension.kind == DimensionKind::Substring);
            let ordinals = substring_ordinals.entry(selector.policy).or_default();
            ordinals.extend(patterns.map(|dimension| dimension.ordinal));
        }
        Self { plan, substring_ordinals }
    }

    /// The automatons of a policy that has as many patterns now.
    fn ordinals_of(&self, policy: &HookPolicy<'_>) -> Vec<u8> {
        let ordinals = self.substring_ordinals.get(&policy.id).filter(|ordinals| !ordinals.is_empty());
        let Some(ordinals) = ordinals else { return Vec::new() };
        let wanted = policy.entries.iter().flat_map(|entry| &entry.selectors).flat_map(|selector| &selector.predicates);
        let count = wanted.filter(|predicate| predicate.dimension.kind == DimensionKind::Substring).count();
        if ordinals.len() == count { ordinals.clone() } else { Vec::new() }
    }
}

/// A plan that grows policy by policy.
#[derive(Default)]
struct Merger<'a> {
    values: Vec<ValuePlan>,
    dimensions: Vec<DimensionPlan>,
    /// Patterns of each `Substring` dimension.
    patterns: BTreeMap<DimensionPlan, BTreeSet<Vec<u8>>>,
    /// Patterns that the policy which is being added has brought along.
    uncertain: Vec<(DimensionPlan, Vec<u8>)>,
    accepted: Vec<Accepted<'a>>,
    refused: Vec<(PolicyId, Problem)>,
}

/// A policy that has found room, with what it asks for in the numbers of the plan.
struct Accepted<'a> {
    policy: HookPolicy<'a>,
    entries: Vec<AcceptedEntry>,
}

struct AcceptedEntry {
    /// Index in the plan of each of its values.
    values: Vec<u8>,
    predicates: Vec<Vec<Predicate>>,
}

impl<'a> Merger<'a> {
    fn new(base: Option<&HookPlan>) -> Self {
        let mut merger = Self::default();
        if let Some(plan) = base {
            merger.values.clone_from(&plan.values);
            merger.dimensions.clone_from(&plan.dimensions);
        }
        merger
    }

    fn add(&mut self, policy: &HookPolicy<'a>, active: Option<&ActivePlan<'_>>) {
        let (values, dimensions) = (self.values.clone(), self.dimensions.clone());
        match self.try_add(policy, active) {
            Ok(accepted) => {
                self.accepted.push(accepted);
                self.uncertain.clear();
            }
            Err(problem) => {
                (self.values, self.dimensions) = (values, dimensions);
                for (dimension, pattern) in std::mem::take(&mut self.uncertain) {
                    self.patterns.entry(dimension).or_default().remove(&pattern);
                }
                self.refused.push((policy.id, problem));
            }
        }
    }

    fn try_add(&mut self, policy: &HookPolicy<'a>, active: Option<&ActivePlan<'_>>) -> Result<Accepted<'a>, Problem> {
        let count: usize = policy.entries.iter().map(|entry| entry.selectors.len()).sum();
        if count > MAX_POLICY_SELECTORS {
            let field = policy.entries.first().map_or("spec", |entry| &entry.field);
            return Err(Problem::TooManySelectors {
                detail: format!(
                    "the policy has {count} selectors on this hook, and at most {MAX_POLICY_SELECTORS} are possible; list several values in one, or divide the policy"
                ),
                field: format!("{field}.selectors"),
            });
        }
        let mut ordinals = active.map(|active| active.ordinals_of(policy)).unwrap_or_default();
        let mut entries = Vec::new();
        for entry in policy.entries {
            let values = self.add_values(entry)?;
            let mut predicates = Vec::new();
            for selector in &entry.selectors {
                let field = format!("{}.selectors[{}]", entry.field, selector.selector);
                let mut joined: Vec<Predicate> = Vec::new();
                for predicate in &selector.predicates {
                    let mut placed = renumbered(predicate, &values);
                    if placed.dimension.kind == DimensionKind::Substring {
                        let fixed = if ordinals.is_empty() { None } else { Some(ordinals.remove(0)) };
                        placed.dimension.ordinal = self.place_patterns(&placed, &joined, fixed, &field)?;
                    }
                    self.add_dimension(placed.dimension, &field)?;
                    joined.push(placed);
                }
                predicates.push(joined);
            }
            entries.push(AcceptedEntry { values, predicates });
        }
        Ok(Accepted { policy: *policy, entries })
    }

    fn add_values(&mut self, entry: &EntryRequest) -> Result<Vec<u8>, Problem> {
        let mut indexes: Vec<u8> = Vec::with_capacity(entry.values.len());
        for value in &entry.values {
            // A size comes before its buffer.
            let size_from = value.size_from.and_then(|own| indexes.get(usize::from(own)).copied());
            let value = ValuePlan { size_from, ..value.clone() };
            let index = match self.values.iter().position(|known| known.is_same_reading(&value)) {
                Some(index) => {
                    self.values[index].join(&value);
                    index
                }
                None if self.values.len() < MAX_VALUES => {
                    self.values.push(value);
                    self.values.len() - 1
                }
                None => {
                    return Err(Problem::TooManySelectors {
                        detail: format!(
                            "with those of other policies this hook would read more than {MAX_VALUES} values; read fewer"
                        ),
                        field: format!("{}.args", entry.field),
                    });
                }
            };
            indexes.push(u8::try_from(index).unwrap_or(u8::MAX));
        }
        Ok(indexes)
    }

    fn add_dimension(&mut self, dimension: DimensionPlan, field: &str) -> Result<(), Problem> {
        if self.dimensions.contains(&dimension) {
            return Ok(());
        }
        if self.dimensions.len() == MAX_DIMENSIONS {
            return Err(Problem::TooManySelectors {
                detail: format!(
                    "with those of other policies this hook would have more than {MAX_DIMENSIONS} kinds of conditions; use fewer"
                ),
                field: field.to_owned(),
            });
        }
        self.dimensions.push(dimension);
        Ok(())
    }

    /// The automaton in which the patterns of a predicate find room: one that no other predicate of the selector uses.
    fn place_patterns(
        &mut self,
        predicate: &Predicate,
        joined: &[Predicate],
        fixed: Option<u8>,
        field: &str,
    ) -> Result<u8, Problem> {
        let texts = predicate.terms.iter().filter_map(|term| match &term.set {
            ValueSet::Texts(texts) => Some(texts),
            _ => None,
        });
        let own: BTreeSet<Vec<u8>> = texts.flatten().cloned().collect();
        let most = u8::try_from(MAX_DIMENSIONS).unwrap_or(u8::MAX);
        for ordinal in fixed.into_iter().chain(0..most) {
            let dimension = DimensionPlan { ordinal, ..predicate.dimension };
            let is_used = joined.iter().any(|other| other.dimension == dimension);
            let known = self.patterns.entry(dimension).or_default();
            let together = || known.iter().chain(&own);
            let states: usize = together().map(Vec::len).sum();
            if !is_used && states < MAX_STATES && automaton::fits(together(), dimension.ignore_case) {
                for pattern in own {
                    if known.insert(pattern.clone()) {
                        self.uncertain.push((dimension, pattern));
                    }
                }
                return Ok(ordinal);
            }
        }
        Err(Problem::TooManySelectors {
            detail:
                "the values of SubString have together more than 63 different characters or 65535 letters; use fewer"
                    .into(),
            field: field.to_owned(),
        })
    }

    fn finish(self, point: &AttachPoint, attachment: &Attachment, active: Option<&HookPlan>) -> Merged {
        let Self { values, mut dimensions, accepted, mut refused, .. } = self;
        let is_unchanged = active.is_some_and(|plan| plan.dimensions == dimensions);
        if !is_unchanged {
            dimensions.sort_by_key(|dimension| (cost(dimension, &values), *dimension));
        }
        let requests = accepted.iter().map(|accepted| BitRequest {
            policy: accepted.policy.id,
            former: accepted.policy.former,
            count: accepted.entries.iter().map(|entry| entry.predicates.len()).sum(),
        });
        let allocation = bits::allocate(&requests.collect::<Vec<_>>(), active);
        for id in &allocation.refused {
            let of_policy = accepted.iter().find(|accepted| accepted.policy.id == *id);
            let field =
                of_policy.and_then(|accepted| accepted.policy.entries.first()).map_or("spec", |entry| &entry.field);
            refused.push((
                *id,
                Problem::TooManySelectors {
                    detail: "the 1024 selectors of this hook are in use; join selectors, or delete a policy".into(),
                    field: format!("{field}.selectors"),
                },
            ));
        }
        let (entries, selectors) = numbered(&accepted, &allocation);
        let replaced = accepted.iter().filter_map(|accepted| Some((accepted.policy.id, accepted.policy.former?)));
        let is_syscall = accepted.iter().flat_map(|accepted| accepted.policy.entries).any(|entry| entry.is_syscall);
        let mut parts = ActionParts::needed(&selectors, &entries);
        if let Some(active) = active.filter(|active| is_unchanged && active.values == values) {
            // The program stays, with the parts that it has.
            parts = parts.join(active.parts);
        }
        let plan = HookPlan {
            point: point.clone(),
            further_functions: Vec::new(),
            attachment: attachment.clone(),
            is_syscall,
            values,
            dimensions,
            width: allocation.width,
            parts,
            selectors,
            entries,
            tables: Arc::default(),
            replaced: replaced.collect(),
        };
        Merged { plan, refused }
    }
}

fn numbered(accepted: &[Accepted<'_>], allocation: &Allocation) -> (Vec<HookEntry>, Vec<SelectorPlan>) {
    let (mut entries, mut selectors) = (Vec::new(), Vec::new());
    for Accepted { policy, entries: of_policy } in accepted {
        let Some(bits) = allocation.bits.get(&policy.id) else { continue };
        let mut bits = bits.iter().copied();
        for (request, entry) in policy.entries.iter().zip(of_policy) {
            let index = u16::try_from(entries.len()).unwrap_or(u16::MAX);
            let shown = |shown: &ShownValue| ShownValue { value: at(&entry.values, shown.value), ..shown.clone() };
            let (mut word, mut mask) = (0, 0);
            for ((selector, predicates), bit) in request.selectors.iter().zip(&entry.predicates).zip(bits.by_ref()) {
                word = bit / 64;
                mask |= 1_u64 << (bit % 64);
                selectors.push(SelectorPlan {
                    bit,
                    policy: policy.id,
                    entry: index,
                    selector: selector.selector,
                    scope: selector.scope.clone(),
                    actions: selector.actions.iter().map(|action| renumbered_action(action, &entry.values)).collect(),
                    predicates: predicates.clone(),
                });
            }
            entries.push(HookEntry {
                policy: policy.id,
                field: request.field.clone(),
                section: request.section,
                is_entry_of_return: request.is_entry_of_return,
                word: u8::try_from(word).unwrap_or(u8::MAX),
                mask,
                message: request.message.clone(),
                tags: request.tags.clone(),
                args: request.args.iter().map(shown).collect(),
                data: request.data.iter().map(shown).collect(),
                returned: request.returned.as_ref().map(shown),
                tracker: request.tracker,
            });
        }
    }
    selectors.sort_by_key(|selector| selector.bit);
    (entries, selectors)
}

fn at(values: &[u8], own: u8) -> u8 {
    values.get(usize::from(own)).copied().unwrap_or(u8::MAX)
}

fn renumbered(predicate: &Predicate, values: &[u8]) -> Predicate {
    let mut dimension = predicate.dimension;
    if let Operand::Value { index, facet } = dimension.operand {
        let facet = match facet {
            ValueFacet::CapabilitiesGained { old } => ValueFacet::CapabilitiesGained { old: at(values, old) },
            other => other,
        };
        dimension.operand = Operand::Value { index: at(values, index), facet };
    }
    Predicate { dimension, terms: predicate.terms.clone() }
}

fn renumbered_action(action: &ActionPlan, values: &[u8]) -> ActionPlan {
    match action {
        ActionPlan::TrackSock { value } => ActionPlan::TrackSock { value: at(values, *value) },
        ActionPlan::UntrackSock { value } => ActionPlan::UntrackSock { value: at(values, *value) },
        other => other.clone(),
    }
}

/// What a dimension costs a call: the return value last, numbers before facts, sockets and texts.
fn cost(dimension: &DimensionPlan, values: &[ValuePlan]) -> (bool, u8) {
    use super::value::ValueKind;

    let cost = match dimension.operand {
        Operand::Process(_) => 1,
        Operand::Value { index, .. } => match values.get(usize::from(index)).map(|value| value.kind) {
            Some(ValueKind::Number { .. } | ValueKind::Syscall) => 0,
            Some(ValueKind::Sock | ValueKind::Skb | ValueKind::Sockaddr | ValueKind::CapabilitySet) => 2,
            Some(ValueKind::String | ValueKind::Inline | ValueKind::DataLoc | ValueKind::RelLoc) => 3,
            _ => 4,
        },
    };
    (dimension.at_return, cost)
}
