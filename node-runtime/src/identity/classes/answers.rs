//! What every scope answers about a cgroup: a class is all cgroups with the same answers. Pure.

use trilobite_node_ebpf::{CgroupClass, SCOPE_WORDS};

const WORDS: usize = SCOPE_WORDS as usize;

/// Whether a scope selects the cgroups of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not decided yet: the kernel reports, and the agent decides once it knows.
    Unknown,
    NotSelected,
    Selected,
}

impl From<Option<bool>> for Answer {
    fn from(in_scope: Option<bool>) -> Self {
        match in_scope {
            None => Self::Unknown,
            Some(false) => Self::NotSelected,
            Some(true) => Self::Selected,
        }
    }
}

/// The answers of all scopes, by scope id: a bit in two sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassAnswers {
    decided: [u64; WORDS],
    wanted: [u64; WORDS],
}

impl ClassAnswers {
    /// The answer of one scope.
    pub fn answer(&self, scope: u32) -> Answer {
        let (word, bit) = position(scope);
        match (self.decided[word] & bit != 0, self.wanted[word] & bit != 0) {
            (false, _) => Answer::Unknown,
            (true, false) => Answer::NotSelected,
            (true, true) => Answer::Selected,
        }
    }

    pub(in crate::identity) fn set(&mut self, scope: u32, answer: Answer) {
        let (word, bit) = position(scope);
        self.decided[word] &= !bit;
        self.wanted[word] &= !bit;
        if answer != Answer::Unknown {
            self.decided[word] |= bit;
        }
        if answer == Answer::Selected {
            self.wanted[word] |= bit;
        }
    }

    /// What is written between these answers and the next, so that a program sees the old answer or the new one of each scope:
    /// `wanted` is complete for as long as a bit is in `decided`.
    pub(super) fn between(&self, next: &Self) -> Self {
        let mut between = Self::default();
        for word in 0..WORDS {
            between.decided[word] = self.decided[word] & next.decided[word];
            between.wanted[word] = self.wanted[word] | next.wanted[word];
        }
        between
    }

    /// Bit sets of the scopes that these answers select, and of those that they leave undecided.
    fn selected_and_unknown(&self, word: usize) -> (u64, u64) {
        (self.decided[word] & self.wanted[word], !self.decided[word])
    }

    /// Changing these answers to `next` in the place of a class would, for a moment, take something from a cgroup that is on its
    /// way to `other`: a scope that selects it before and after, or one of `settled` that has not decided yet and will select it.
    pub(super) fn change_harms(&self, next: &Self, other: &Self, settled: &Self) -> bool {
        (0..WORDS).any(|word| {
            let (before, unknown) = self.selected_and_unknown(word);
            let (now, _) = next.selected_and_unknown(word);
            let (other, _) = other.selected_and_unknown(word);
            (before | (unknown & settled.decided[word])) & other & !now != 0
        })
    }

    /// Adds the scopes that `other` has decided.
    pub(super) fn add_decided(&mut self, other: &Self) {
        self.decided.iter_mut().zip(&other.decided).for_each(|(word, more)| *word |= more);
    }

    /// These answers without those of scopes that are not `decided` in any of the cgroups' answers, i.e. that were removed.
    pub(super) fn restricted_to(&self, decided: &Self) -> Self {
        let mut kept = *self;
        for word in 0..WORDS {
            kept.decided[word] &= decided.decided[word];
            kept.wanted[word] &= decided.decided[word];
        }
        kept
    }

    #[cfg(test)]
    pub(super) fn is_decided(&self, scope: u32) -> bool {
        self.answer(scope) != Answer::Unknown
    }

    #[cfg(test)]
    pub(super) fn is_wanted(&self, scope: u32) -> bool {
        let (word, bit) = position(scope);
        self.wanted[word] & bit != 0
    }

    pub(super) fn to_kernel(self) -> CgroupClass {
        CgroupClass { decided: self.decided, wanted: self.wanted }
    }
}

fn position(scope: u32) -> (usize, u64) {
    ((scope / 64) as usize % WORDS, 1 << (scope % 64))
}
