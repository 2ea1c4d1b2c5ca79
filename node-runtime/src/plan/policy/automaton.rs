//! An Aho-Corasick automaton over classes of characters: which of many patterns a text contains, in one pass over its bytes.

use std::collections::{BTreeMap, VecDeque};

use super::row::Row;

/// The most states: what a number of 16 bits names.
pub const MAX_STATES: usize = 1 << 16;
/// The most classes of characters, with that of all bytes that no pattern has.
pub const MAX_CLASSES: usize = 64;

/// The table of an automaton. State 0 is the begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Automaton {
    /// Class of each of the 256 bytes; class 0 are all bytes that no pattern has.
    pub classes: Vec<u8>,
    pub class_count: u16,
    /// Next state of `state * class_count + class`.
    pub next: Vec<u16>,
    /// Of each state: 0, or 1 + the index of the row of the patterns that end there.
    pub accepts: Vec<u32>,
}

/// Patterns, none of them empty, that together have too many characters or states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Automaton {
    /// Builds the automaton of these patterns, each with the selectors that ask for it, and its rows.
    pub fn build(patterns: &BTreeMap<Vec<u8>, Row>, ignore_case: bool) -> Result<(Self, Vec<Row>), TooLarge> {
        let (classes, class_count) = classes(patterns.keys(), ignore_case).ok_or(TooLarge)?;
        let width = usize::from(class_count);
        let mut tree = Tree::new(width);
        for (pattern, row) in patterns {
            tree.add(pattern.iter().map(|byte| classes[usize::from(*byte)]), row)?;
        }
        let (next, rows_of_states) = tree.close();
        let mut rows: Vec<Row> = Vec::new();
        let mut indexes: BTreeMap<Row, u32> = BTreeMap::new();
        let mut accepts = Vec::with_capacity(rows_of_states.len());
        for row in rows_of_states {
            accepts.push(match row {
                None => 0,
                Some(row) => *indexes.entry(row.clone()).or_insert_with(|| {
                    rows.push(row);
                    u32::try_from(rows.len()).unwrap_or(u32::MAX)
                }),
            });
        }
        Ok((Self { classes, class_count, next, accepts }, rows))
    }

    pub fn states(&self) -> usize {
        self.accepts.len()
    }

    /// The state after a byte.
    pub fn step(&self, state: u16, byte: u8) -> u16 {
        let class = usize::from(self.classes.get(usize::from(byte)).copied().unwrap_or_default());
        self.next.get(usize::from(state) * usize::from(self.class_count) + class).copied().unwrap_or_default()
    }
}

/// A class for each character of the patterns, and how many there are; none if they are too many.
fn classes<'a>(patterns: impl Iterator<Item = &'a Vec<u8>>, ignore_case: bool) -> Option<(Vec<u8>, u16)> {
    let mut classes = vec![0; 256];
    let mut count: u8 = 1;
    for byte in patterns.flatten() {
        let variants =
            if ignore_case { [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()] } else { [*byte, *byte] };
        if classes[usize::from(variants[0])] != 0 {
            continue;
        }
        if usize::from(count) == MAX_CLASSES {
            return None;
        }
        for variant in variants {
            classes[usize::from(variant)] = count;
        }
        count += 1;
    }
    Some((classes, count.into()))
}

/// Whether these patterns have few enough characters for one automaton.
pub fn fits(patterns: impl Iterator<Item = impl AsRef<[u8]>>, ignore_case: bool) -> bool {
    let all: Vec<Vec<u8>> = patterns.map(|pattern| pattern.as_ref().to_vec()).collect();
    classes(all.iter(), ignore_case).is_some()
}

/// The trie of the patterns, which `close` makes an automaton of.
struct Tree {
    width: usize,
    /// 0: no edge. The begin is the end of none.
    next: Vec<u16>,
    rows: Vec<Option<Row>>,
}

impl Tree {
    fn new(width: usize) -> Self {
        Self { width, next: vec![0; width], rows: vec![None] }
    }

    fn add(&mut self, pattern: impl Iterator<Item = u8>, row: &Row) -> Result<(), TooLarge> {
        let mut state = 0;
        for class in pattern {
            let edge = state * self.width + usize::from(class);
            if self.next[edge] == 0 {
                if self.rows.len() == MAX_STATES {
                    return Err(TooLarge);
                }
                self.next[edge] = u16::try_from(self.rows.len()).map_err(|_| TooLarge)?;
                self.rows.push(None);
                self.next.extend(std::iter::repeat_n(0, self.width));
            }
            state = usize::from(self.next[edge]);
        }
        add_row(&mut self.rows[state], row);
        Ok(())
    }

    /// Gives each state an edge for each class, and the rows of all patterns that end there.
    fn close(mut self) -> (Vec<u16>, Vec<Option<Row>>) {
        let mut suffix = vec![0_u16; self.rows.len()];
        let mut queue: VecDeque<u16> = self.next[..self.width].iter().copied().filter(|state| *state != 0).collect();
        while let Some(state) = queue.pop_front() {
            let (own, shorter) = (usize::from(state), usize::from(suffix[usize::from(state)]));
            if let Some(row) = self.rows[shorter].clone() {
                add_row(&mut self.rows[own], &row);
            }
            for class in 0..self.width {
                let fallback = self.next[shorter * self.width + class];
                let edge = &mut self.next[own * self.width + class];
                if *edge == 0 {
                    *edge = fallback;
                } else {
                    suffix[usize::from(*edge)] = fallback;
                    queue.push_back(*edge);
                }
            }
        }
        (self.next, self.rows)
    }
}

fn add_row(to: &mut Option<Row>, row: &Row) {
    match to {
        Some(found) => found.add_all(row),
        None => *to = Some(row.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(automaton: &Automaton, rows: &[Row], text: &[u8]) -> u64 {
        let mut state = 0;
        let mut found = 0;
        for byte in text {
            state = automaton.step(state, *byte);
            if let Some(row) = automaton.accepts[usize::from(state)].checked_sub(1) {
                found |= rows[row as usize].0[0];
            }
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn automaton_finds_what_a_search_finds(
            patterns in prop::collection::vec("[abAB/]{1,4}", 1..12),
            text in "[abAB/]{0,16}",
            ignore_case: bool,
        ) {
            let mut table: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
            for (bit, pattern) in patterns.iter().enumerate() {
                let pattern = if ignore_case { pattern.to_ascii_lowercase() } else { pattern.clone() };
                table.entry(pattern.into_bytes()).or_insert(Row(vec![0])).0[0] |= 1 << bit;
            }
            let (automaton, rows) = Automaton::build(&table, ignore_case).unwrap();
            let fold = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
            let mut expected = 0;
            for (bit, pattern) in patterns.iter().enumerate() {
                expected |= u64::from(fold(&text).contains(&fold(pattern))) << bit;
            }
            prop_assert_eq!(found(&automaton, &rows, text.as_bytes()), expected);
        }
    }

    #[test]
    fn patterns_with_too_many_characters_do_not_fit() {
        let all: Vec<Vec<u8>> = (0..64_u8).map(|byte| vec![byte + 32]).collect();
        assert!(!fits(all.iter(), false));
        assert!(fits(all[..63].iter(), false));
        let table = all.into_iter().map(|pattern| (pattern, Row(vec![1]))).collect();
        assert_eq!(Automaton::build(&table, false), Err(TooLarge));
    }
}
