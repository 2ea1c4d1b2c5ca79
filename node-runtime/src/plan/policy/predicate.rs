//! A predicate: the conditions of one selector on one dimension, all of which must hold.

use super::dimension::{DimensionPlan, Network};

/// The conditions of a selector on one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Whose table answers it.
    pub dimension: DimensionPlan,
    /// All must hold. Never empty.
    pub terms: Vec<Term>,
}

/// One condition: the operand is in the set, or, negated, is not. An operand that cannot be read is in no set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub is_negated: bool,
    pub set: ValueSet,
}

/// The values of a condition; lists are sorted, and without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSet {
    /// `Interval`: from and to, both included; in the order of the table (see `DimensionPlan::unsigned`).
    Ranges(Vec<(i64, i64)>),
    /// `Bytes`: any of these bits.
    Mask(u64),
    /// `Exact`, `Prefix`, `Substring`, and `Id` of a binary; `Suffix` too, whose texts are not reversed here.
    Texts(Vec<Vec<u8>>),
    /// `Address`.
    Networks(Vec<Network>),
}

impl Predicate {
    /// What the predicate says of an operand that is in no set, or cannot be read.
    pub fn matches_nothing_known(&self) -> bool {
        self.terms.iter().all(|term| term.is_negated)
    }
}
