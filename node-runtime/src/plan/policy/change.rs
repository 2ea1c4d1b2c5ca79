//! What must be done so that a hook follows another plan.

use std::sync::Arc;

use super::{
    automaton::TooLarge,
    binaries::BinaryTables,
    dimension::DimensionTable,
    hook_plan::{HookPlan, PolicyId, SelectorPlan, Width},
    table::build_tables,
};

/// The difference between the active plan of a hook and the wanted one.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Nothing,
    /// Maps only: write `during`, in which old and new bits answer; then the node's table of binaries, if it changed, and the ids
    /// of running processes; flip each class's row from the old bits to the new ones; and after a grace period write the wanted
    /// plan's own tables.
    Maps(Box<MapsChange>),
    /// Another program is attached beside the old one, and one word hands over.
    Program(ProgramReason),
}

/// A change without loading anything.
#[derive(Clone, Debug, PartialEq)]
pub struct MapsChange {
    /// Tables of the active selectors and the wanted ones together; one for each dimension.
    pub during: Arc<[DimensionTable]>,
    /// Bits that match from the flip on, upwards.
    pub new_bits: Vec<u16>,
    /// Bits that match until the flip, upwards; they are free once `during` has been replaced.
    pub old_bits: Vec<u16>,
}

/// Why a program must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramReason {
    /// The hook is new.
    NewHook,
    /// Another value is read, or one in another way.
    Values,
    /// There is another dimension.
    Dimensions,
    /// An action needs a part that the program does not have.
    Actions,
    /// More bits are needed.
    Width(Width),
    /// Another way to attach, or other functions.
    Attachment,
    /// A policy's new version lies in another word than its old one: a flip would not be one write.
    Word(PolicyId),
    /// A bit that stays would mean something else.
    Meaning(u16),
}

/// Compares two plans of one hook. `binaries` are those of the wanted plans.
pub fn change(active: Option<&HookPlan>, wanted: &HookPlan, binaries: &BinaryTables) -> Change {
    let Some(active) = active else { return Change::Program(ProgramReason::NewHook) };
    if let Some(reason) = program_reason(active, wanted) {
        return Change::Program(reason);
    }
    let old_bits = missing(&active.selectors, &wanted.selectors);
    let new_bits = missing(&wanted.selectors, &active.selectors);
    // None at all where they were dropped and are the same: `compile` builds those that may differ.
    let has_same_tables = || wanted.tables.is_empty() || active.tables == wanted.tables;
    if old_bits.is_empty() && new_bits.is_empty() && has_same_tables() {
        return Change::Nothing;
    }
    if old_bits.is_empty() {
        let during = wanted.tables.clone();
        return Change::Maps(Box::new(MapsChange { during, new_bits, old_bits }));
    }
    let leaving = active.selectors.iter().filter(|selector| old_bits.binary_search(&selector.bit).is_ok());
    let mut together: Vec<&SelectorPlan> = wanted.selectors.iter().chain(leaving).collect();
    together.sort_by_key(|selector| selector.bit);
    match build_tables(&wanted.dimensions, &together, wanted.width, binaries) {
        Ok(during) => Change::Maps(Box::new(MapsChange { during: during.into(), new_bits, old_bits })),
        // Both versions together are too much for an automaton.
        Err(TooLarge) => Change::Program(ProgramReason::Dimensions),
    }
}

pub(super) fn program_reason(active: &HookPlan, wanted: &HookPlan) -> Option<ProgramReason> {
    if active.attachment.ways != wanted.attachment.ways
        || active.further_functions != wanted.further_functions
        || active.is_syscall != wanted.is_syscall
    {
        return Some(ProgramReason::Attachment);
    }
    if active.values != wanted.values {
        return Some(ProgramReason::Values);
    }
    if active.dimensions != wanted.dimensions {
        return Some(ProgramReason::Dimensions);
    }
    if active.parts != wanted.parts {
        return Some(ProgramReason::Actions);
    }
    if active.width != wanted.width {
        return Some(ProgramReason::Width(wanted.width));
    }
    let word_of =
        |plan: &HookPlan, id: PolicyId| plan.entries.iter().find(|entry| entry.policy == id).map(|entry| entry.word);
    for (new, old) in &wanted.replaced {
        let (from, to) = (word_of(active, *old), word_of(wanted, *new));
        if from.is_some() && to.is_some() && from != to {
            return Some(ProgramReason::Word(*new));
        }
    }
    // A bit that stays must keep its meaning.
    wanted.selectors.iter().find_map(|selector| {
        let before = active.selectors.binary_search_by_key(&selector.bit, |before| before.bit).ok();
        let before = &active.selectors[before?];
        let is_same = before.policy == selector.policy
            && before.predicates == selector.predicates
            && before.actions == selector.actions
            && before.selector == selector.selector
            && before.scope == selector.scope;
        (!is_same).then_some(ProgramReason::Meaning(selector.bit))
    })
}

/// Bits of selectors that the other plan does not have.
fn missing(selectors: &[SelectorPlan], other: &[SelectorPlan]) -> Vec<u16> {
    let has = |bit: u16| other.binary_search_by_key(&bit, |selector| selector.bit).is_ok();
    selectors.iter().map(|selector| selector.bit).filter(|bit| !has(*bit)).collect()
}
