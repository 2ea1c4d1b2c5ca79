//! Tables of the whole node: ids of binaries by their path, and the conditions that processes inherit, for all policies together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dimension::{DimensionKind, Operand, ProcessFact},
    predicate::{Predicate, ValueSet},
};

/// The most conditions that processes inherit (`followChildren`, `followForks`) on a node.
pub const MAX_FOLLOWED: u8 = 64;
/// The longest path of such a condition in bytes.
pub const MAX_FOLLOWED_PATH: usize = 256;

/// Ids of binaries. An id stays with its text as long as a policy names it, and until the next plan after that, so that selectors
/// which leave find it until they are flipped away. 0 means in no table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BinaryTables {
    pub exact: BTreeMap<Vec<u8>, u32>,
    /// The id is that of the longest prefix that is in the table.
    pub prefixes: BTreeMap<Vec<u8>, u32>,
    /// By reversed suffix; the id is that of the longest.
    pub suffixes: BTreeMap<Vec<u8>, u32>,
    /// By bit of `ProcessFact::Followed`. A bit without a condition is free.
    pub followed: BTreeMap<u8, FollowCondition>,
}

/// A condition that a process meets when it is forked or executes, and that its children inherit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FollowCondition {
    /// It executes one of these files.
    Binaries(BTreeSet<Vec<u8>>),
    /// It is one of these processes.
    Pids { in_own_namespace: bool, pids: BTreeSet<u32> },
}

/// The ids of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BinaryIds {
    pub exact: u32,
    pub prefix: u32,
    pub suffix: u32,
}

impl BinaryTables {
    /// Ids of a path.
    pub fn ids(&self, path: &[u8]) -> BinaryIds {
        let longest = |table: &BTreeMap<Vec<u8>, u32>, text: &[u8]| {
            (0..=text.len()).rev().find_map(|length| table.get(&text[..length]).copied()).unwrap_or_default()
        };
        let reversed: Vec<u8> = path.iter().rev().copied().collect();
        BinaryIds {
            exact: self.exact.get(path).copied().unwrap_or_default(),
            prefix: longest(&self.prefixes, path),
            suffix: longest(&self.suffixes, &reversed),
        }
    }

    /// The bit of a condition; a new one if it has none; none where all are in use.
    pub(super) fn follow(&mut self, condition: FollowCondition) -> Option<u8> {
        if let Some((bit, _)) = self.followed.iter().find(|(_, known)| **known == condition) {
            return Some(*bit);
        }
        let bit = (0..MAX_FOLLOWED).find(|bit| !self.followed.contains_key(bit))?;
        self.followed.insert(bit, condition);
        Some(bit)
    }

    /// Tables for these predicates, with the ids that the texts had before. An id that a text had before is given to no other one:
    /// running processes still have it.
    pub(super) fn build<'a>(
        predicates: impl Iterator<Item = &'a Predicate>,
        followed: BTreeMap<u8, FollowCondition>,
        before: &Self,
    ) -> Self {
        let (mut exact, mut prefixes, mut suffixes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let reversed = |text: &Vec<u8>| text.iter().rev().copied().collect::<Vec<u8>>();
        let mut used = 0_u64;
        for predicate in predicates {
            let Operand::Process(fact) = predicate.dimension.operand else { continue };
            for term in &predicate.terms {
                match (&term.set, fact) {
                    (ValueSet::Mask(mask), ProcessFact::Followed | ProcessFact::ParentFollowed) => used |= mask,
                    (ValueSet::Texts(texts), ProcessFact::BinaryExact | ProcessFact::ParentBinaryExact) => {
                        exact.extend(texts.iter().cloned());
                    }
                    (ValueSet::Texts(texts), ProcessFact::BinaryPrefix | ProcessFact::ParentBinaryPrefix) => {
                        prefixes.extend(texts.iter().cloned());
                    }
                    (ValueSet::Texts(texts), ProcessFact::BinarySuffix | ProcessFact::ParentBinarySuffix) => {
                        suffixes.extend(texts.iter().map(reversed));
                    }
                    _ => {}
                }
            }
        }
        Self {
            exact: number(exact, &before.exact),
            prefixes: number(prefixes, &before.prefixes),
            suffixes: number(suffixes, &before.suffixes),
            followed: followed.into_iter().filter(|(bit, _)| used >> bit & 1 != 0).collect(),
        }
    }
}

impl FollowCondition {
    /// Whether it is about pids in a process's own namespace: it does not pass from the host to a container.
    pub fn is_namespaced(&self) -> bool {
        matches!(self, Self::Pids { in_own_namespace: true, .. })
    }

    /// Whether a process meets it itself.
    pub fn is_met(&self, path: &[u8], pid: u32, namespace_pid: u32) -> bool {
        match self {
            Self::Binaries(paths) => paths.contains(path),
            Self::Pids { in_own_namespace, pids } => {
                pids.contains(if *in_own_namespace { &namespace_pid } else { &pid })
            }
        }
    }
}

fn number(texts: BTreeSet<Vec<u8>>, before: &BTreeMap<Vec<u8>, u32>) -> BTreeMap<Vec<u8>, u32> {
    let taken: BTreeSet<u32> = before.values().copied().collect();
    let mut free = (1..).filter(|id| !taken.contains(id));
    let id = |text: Vec<u8>| {
        let id = before.get(&text).copied().or_else(|| free.next()).unwrap_or_default();
        (text, id)
    };
    texts.into_iter().map(id).collect()
}

impl ProcessFact {
    /// Whether its dimension has ids of binaries.
    pub fn is_binary_id(self) -> Option<DimensionKind> {
        match self {
            Self::BinaryExact | Self::ParentBinaryExact => Some(DimensionKind::Exact),
            Self::BinaryPrefix | Self::ParentBinaryPrefix => Some(DimensionKind::Prefix),
            Self::BinarySuffix | Self::ParentBinarySuffix => Some(DimensionKind::Suffix),
            _ => None,
        }
    }
}
