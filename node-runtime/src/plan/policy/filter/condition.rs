//! The conditions of one alternative of a selector, while they are collected.

use std::collections::{BTreeMap, BTreeSet};

use trilobite_crds::policy::{Hook, List};

use crate::plan::policy::{
    dimension::{DimensionKind, DimensionPlan, Operand, ValueFacet},
    item::ReadableValue,
    kernel_view::Kernel,
    predicate::{Predicate, Term, ValueSet},
};

/// A filter that cannot be answered: which, below the selector, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterError {
    /// E.g. `matchArgs[0].operator`.
    pub(crate) field: String,
    pub(crate) detail: String,
}

/// What filters of a hook can refer to.
pub(crate) struct FilterContext<'a> {
    pub(crate) hook: Hook<'a>,
    /// With the values that this node found for generated lists.
    pub(crate) lists: &'a [List],
    /// One of each argument; none for what is not read.
    pub(crate) args: &'a [Option<ReadableValue>],
    pub(crate) data: &'a [Option<ReadableValue>],
    pub(crate) returned: Option<ReadableValue>,
    /// On security_bprm_check: the values that are the executed file's names.
    pub(crate) executed: &'a [u8],
    pub(crate) kernel: &'a dyn Kernel,
}

/// The conditions of an alternative, before they are joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    /// By dimension, all with ordinal 0.
    terms: BTreeMap<DimensionPlan, Vec<Term>>,
}

impl Conditions {
    pub(super) fn add(&mut self, dimension: DimensionPlan, term: Term) {
        let terms = self.terms.entry(dimension).or_default();
        if !terms.contains(&term) {
            terms.push(term);
        }
    }

    /// One predicate for each dimension; where rows are ORed, one for each positive condition and one for all negative ones.
    pub(super) fn join(self) -> Vec<Predicate> {
        let mut predicates = Vec::new();
        for (dimension, terms) in self.terms {
            if !matches!(dimension.kind, DimensionKind::Bytes | DimensionKind::Substring) {
                predicates.push(Predicate { dimension, terms });
                continue;
            }
            let (negated, positive): (Vec<Term>, Vec<Term>) = terms.into_iter().partition(|term| term.is_negated);
            let groups = positive.into_iter().map(|term| vec![term]).chain((!negated.is_empty()).then_some(negated));
            for (ordinal, terms) in (0_u8..=u8::MAX).zip(groups) {
                predicates.push(Predicate { dimension: DimensionPlan { ordinal, ..dimension }, terms });
            }
        }
        predicates
    }
}

pub(super) fn dimension(kind: DimensionKind, operand: Operand) -> DimensionPlan {
    DimensionPlan { kind, operand, ignore_case: false, unsigned: false, ordinal: 0, at_return: false }
}

pub(super) fn of_value(kind: DimensionKind, index: u8, facet: ValueFacet) -> DimensionPlan {
    dimension(kind, Operand::Value { index, facet })
}

pub(super) fn texts<'a>(values: impl IntoIterator<Item = &'a String>) -> ValueSet {
    let texts: BTreeSet<Vec<u8>> = values.into_iter().map(|text| text.as_bytes().to_vec()).collect();
    ValueSet::Texts(texts.into_iter().collect())
}
