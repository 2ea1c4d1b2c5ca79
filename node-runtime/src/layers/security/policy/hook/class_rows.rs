//! Which selectors of a hook a class of cgroups has: the only words by which policies become active.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    identity::{Answer, ClassAnswers},
    kernel::{Map, Table},
    problem::Problem,
};

/// The class for which nothing is decided.
const UNDECIDED: u32 = 0;

/// A selector that is active, and the scope that says for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layers::security) struct ActiveBit {
    pub(in crate::layers::security) bit: u16,
    pub(in crate::layers::security) scope: u32,
}

/// The rows of one hook.
pub(in crate::layers::security) struct ClassRows {
    table: Table,
    words: usize,
    bits: Mutex<Vec<ActiveBit>>,
}

/// All hooks, and the answers of every class: each hook has a row for each class before a cgroup has the class.
#[derive(Clone, Default)]
pub(in crate::layers::security) struct ClassBook(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    answers: BTreeMap<u32, ClassAnswers>,
    hooks: Vec<Arc<ClassRows>>,
}

/// One row: what is wanted, what is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ClassRow {
    wanted: Vec<u64>,
    unknown: Vec<u64>,
}

impl ClassBook {
    /// The answers of a class have changed, or are new.
    pub(in crate::layers::security) fn set_answers(&self, class: u32, answers: &ClassAnswers) {
        let mut known = self.0.lock();
        known.answers.insert(class, *answers);
        known.hooks.iter().for_each(|hook| hook.write(class, Some(answers)));
    }

    /// The hook's rows follow the classes from now on.
    pub(in crate::layers::security) fn add_hook(&self, rows: &Arc<ClassRows>) {
        self.0.lock().hooks.push(rows.clone());
    }

    pub(in crate::layers::security) fn remove_hook(&self, rows: &Arc<ClassRows>) {
        self.0.lock().hooks.retain(|hook| !Arc::ptr_eq(hook, rows));
    }

    /// Activates these selectors of a hook, and no other.
    pub(in crate::layers::security) fn flip(&self, rows: &ClassRows, bits: Vec<ActiveBit>) {
        let known = self.0.lock();
        *rows.bits.lock() = bits;
        rows.write(UNDECIDED, None);
        known.answers.iter().for_each(|(class, answers)| rows.write(*class, Some(answers)));
    }
}

impl ClassRows {
    /// No selector is active yet.
    pub(super) fn new(map: &Map, words: usize) -> Result<Self, Problem> {
        Ok(Self { table: Table::map(map)?, words, bits: Mutex::default() })
    }

    /// Writes the row of a class, a word at a time. Versions of a policy have their bits in one word, so that a call sees one
    /// of them.
    fn write(&self, class: u32, answers: Option<&ClassAnswers>) {
        let row = class_row(&self.bits.lock(), self.words, answers);
        let element = class as usize;
        let used = |row: &ClassRow| {
            let pairs = row.wanted.iter().zip(&row.unknown).enumerate();
            pairs.filter(|(_, (wanted, unknown))| *wanted | *unknown != 0).fold(0, |used, (word, _)| used | 1 << word)
        };
        let used: u64 = used(&row);
        self.table.store(element, 0, self.table.load(element, 0) | used);
        for word in 0..self.words {
            let (at_wanted, at_unknown) = (1 + word, 1 + self.words + word);
            let before = self.table.load(element, at_wanted);
            let (wanted, unknown) = (row.wanted[word], row.unknown[word]);
            // A selector that goes from one to the other is in both for a moment.
            if before & unknown & !wanted != 0 {
                self.table.store(element, at_unknown, unknown);
                self.table.store(element, at_wanted, wanted);
            } else {
                self.table.store(element, at_wanted, wanted);
                self.table.store(element, at_unknown, unknown);
            }
        }
        self.table.store(element, 0, used);
    }
}

/// Of a class without answers every selector is unknown.
fn class_row(bits: &[ActiveBit], words: usize, answers: Option<&ClassAnswers>) -> ClassRow {
    let mut row = ClassRow { wanted: vec![0; words], unknown: vec![0; words] };
    for ActiveBit { bit, scope } in bits {
        let (word, mask) = (usize::from(*bit) / 64, 1 << (bit % 64));
        let half = match answers.map_or(Answer::Unknown, |answers| answers.answer(*scope)) {
            Answer::Selected => &mut row.wanted,
            Answer::Unknown => &mut row.unknown,
            Answer::NotSelected => continue,
        };
        if let Some(word) = half.get_mut(word) {
            *word |= mask;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecided_class_has_every_selector_as_unknown() {
        let bits = [ActiveBit { bit: 1, scope: 0 }, ActiveBit { bit: 65, scope: 9 }];
        let row = class_row(&bits, 4, None);
        assert_eq!(row, ClassRow { wanted: vec![0; 4], unknown: vec![2, 2, 0, 0] });
    }
}
