//! Writes a plan's tables to the maps of a hook while its program runs. What a program may find half written are bits that no
//! class has: tables of numbers and automata are written to free elements and switched to by one word, rows of texts change
//! word by word.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use trilobite_node_ebpf::{AutomatonHeader, AutomatonState, PrefixKey, StringKey};
use zerocopy::IntoBytes;

use super::{
    keys::{network_key, prefix_key, string_key},
    space::Space,
};
use crate::{
    kernel::{Map, Table},
    plan::policy::{
        automaton::Automaton,
        dimension::{Answers, DimensionTable, Network, Row},
    },
    problem::Problem,
};

/// Elements of an automaton before its states: the header, and the classes of all bytes in two.
const AUTOMATON_BEGIN: usize = 3;
const CLASSES_IN_ELEMENT: usize = 128;

/// A table that moves with each change takes so many times its size: the active one, the one of a change that is being made,
/// one that programs may still read, and room to grow.
const MOVED: u32 = 4;
/// Elements and keys for changes of a small plan.
const SPARE: u32 = 64;

/// The maps that tables are in.
pub(super) struct TableMaps {
    pub(super) dimension_tables: Map,
    pub(super) dimension_masks: Map,
    pub(super) bounds: Map,
    pub(super) rows: Map,
    pub(super) substrings: Map,
    pub(super) strings: Map,
    pub(super) prefixes: Map,
}

/// How large the maps of a hook are made: what the plan needs, and as much again for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableSizes {
    pub(super) rows: u32,
    pub(super) substrings: u32,
    pub(super) strings: u32,
    pub(super) prefixes: u32,
}

/// Why tables were not written.
pub(in crate::layers::security) enum TableError {
    /// They do not fit the maps: the program has to be replaced by one with larger maps.
    Full,
    Refused(Problem),
}

pub(super) struct HookTables {
    maps: TableMaps,
    words: usize,
    rows: Space,
    substrings: Space,
    dimensions: Vec<Dimension>,
    sizes: TableSizes,
    /// Elements of tables that programs may still read until a grace period has passed.
    retired_tables: Vec<Range<u32>>,
    /// Rows of texts, whose keys are deleted after the next grace period.
    retired_rows: Vec<Range<u32>>,
    /// Those whose keys were deleted after the last grace period: a program may have found them just before.
    aging_rows: Vec<Range<u32>>,
    retired_substrings: Vec<Range<u32>>,
    /// Keys that are deleted when nobody can look them up for an active bit any more.
    retired_strings: Vec<StringKey>,
    retired_prefixes: Vec<PrefixKey>,
}

/// What the maps contain of a dimension.
#[derive(Default)]
struct Dimension {
    rows: Option<Range<u32>>,
    bounds: Vec<i64>,
    automaton: Option<(Range<u32>, Automaton)>,
    /// Rows of texts and networks, by key.
    strings: BTreeMap<Vec<u8>, u32>,
    prefixes: BTreeMap<PrefixName, u32>,
}

/// What a key of the trie is about; a key itself has 260 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PrefixName {
    /// A prefix, or a reversed suffix.
    Text(Vec<u8>),
    Network(Network),
}

impl PrefixName {
    fn key(&self, dimension: u8) -> PrefixKey {
        match self {
            Self::Text(text) => prefix_key(dimension, text),
            Self::Network(network) => network_key(dimension, network),
        }
    }
}

impl TableSizes {
    pub(super) fn of_tables(tables: &[DimensionTable]) -> Self {
        let mut need = Self { rows: SPARE, substrings: 1, strings: SPARE, prefixes: SPARE };
        for table in tables {
            match &table.answers {
                // Never moved.
                Answers::Bytes { rows } => need.rows += rows.len() as u32,
                Answers::Interval { rows, .. } | Answers::Id { rows } => need.rows += MOVED * rows.len() as u32,
                Answers::Exact { rows } => need.add_keys(rows.len() as u32, 0),
                Answers::Affix { rows } => need.add_keys(0, rows.len() as u32),
                Answers::Address { rows } => need.add_keys(0, rows.len() as u32),
                Answers::Substring { automaton, rows } => {
                    need.rows += MOVED * rows.len() as u32;
                    need.substrings += MOVED * (AUTOMATON_BEGIN + automaton.accepts.len()) as u32 + SPARE;
                }
            }
        }
        need
    }

    fn add_keys(&mut self, strings: u32, prefixes: u32) {
        self.rows += 3 * (strings + prefixes);
        self.strings += 2 * strings;
        self.prefixes += 2 * prefixes;
    }
}

impl HookTables {
    pub(super) fn new(maps: TableMaps, words: usize, sizes: TableSizes) -> Self {
        Self {
            maps,
            words,
            // Row 0 is empty: the answer of what is in no table.
            rows: Space::new(1..sizes.rows),
            substrings: Space::new(0..sizes.substrings),
            dimensions: Vec::new(),
            sizes,
            retired_tables: Vec::new(),
            retired_rows: Vec::new(),
            aging_rows: Vec::new(),
            retired_substrings: Vec::new(),
            retired_strings: Vec::new(),
            retired_prefixes: Vec::new(),
        }
    }

    /// Writes all tables. Bits that classes have must mean the same before and after.
    pub(super) fn write(&mut self, tables: &[DimensionTable]) -> Result<(), TableError> {
        let rows = Table::map(&self.maps.rows).map_err(TableError::Refused)?;
        let masks = Table::map(&self.maps.dimension_masks).map_err(TableError::Refused)?;
        for (index, table) in tables.iter().enumerate() {
            if self.dimensions.len() <= index {
                self.dimensions.push(Dimension::default());
            }
            let mask = [padded(&table.negated, self.words), padded(&table.does_not_care, self.words)].concat();
            masks.write(index, &mask);
            self.write_answers(index, &table.answers, &rows)?;
        }
        Ok(())
    }

    fn write_answers(&mut self, index: usize, answers: &Answers, rows_map: &Table) -> Result<(), TableError> {
        match answers {
            Answers::Interval { bounds, rows } => self.write_interval(index, bounds, rows, rows_map),
            Answers::Bytes { rows } | Answers::Id { rows } => {
                if let Some(range) = self.write_rows(index, rows, rows_map)? {
                    self.switch(index, &range)?;
                }
                Ok(())
            }
            Answers::Exact { rows } => self.write_strings(index, rows, rows_map),
            Answers::Affix { rows } => {
                let named: Vec<_> = rows.iter().map(|(text, row)| (PrefixName::Text(text.clone()), row)).collect();
                self.write_prefixes(index, &named, rows_map)
            }
            Answers::Address { rows } => {
                let named: Vec<_> = rows.iter().map(|(network, row)| (PrefixName::Network(*network), row)).collect();
                self.write_prefixes(index, &named, rows_map)
            }
            Answers::Substring { automaton, rows } => self.write_automaton(index, automaton, rows, rows_map),
        }
    }

    /// In the place of as many rows, else in free elements, which are returned.
    fn write_rows(&mut self, index: usize, rows: &[Row], map: &Table) -> Result<Option<Range<u32>>, TableError> {
        let current = self.dimensions[index].rows.clone();
        let (range, is_new) = match current {
            Some(range) if range.len() == rows.len() => (range, false),
            current => {
                let range = self.rows.allocate(rows.len() as u32).ok_or(TableError::Full)?;
                self.retired_tables.extend(current);
                self.dimensions[index].rows = Some(range.clone());
                (range, true)
            }
        };
        for (element, row) in range.clone().zip(rows) {
            map.write(element as usize, &padded(row, self.words));
        }
        Ok(is_new.then_some(range))
    }

    fn write_interval(&mut self, index: usize, bounds: &[i64], rows: &[Row], map: &Table) -> Result<(), TableError> {
        if self.dimensions[index].bounds == bounds {
            self.write_rows(index, rows, map)?;
            return Ok(());
        }
        // Other bounds mean other rows, also where there are as many.
        let current = self.dimensions[index].rows.take();
        let range = self.write_rows(index, rows, map)?;
        self.retired_tables.extend(current);
        let table = Table::map(&self.maps.bounds).map_err(TableError::Refused)?;
        if let Some(range) = range {
            for (element, bound) in range.clone().zip(bounds) {
                table.store(element as usize, 0, bound.cast_unsigned());
            }
            self.switch(index, &range)?;
        }
        self.dimensions[index].bounds = bounds.to_vec();
        Ok(())
    }

    /// Lets the program use the elements of a range, by one word.
    fn switch(&self, index: usize, range: &Range<u32>) -> Result<(), TableError> {
        let table = Table::map(&self.maps.dimension_tables).map_err(TableError::Refused)?;
        table.store(0, index, u64::from(range.start) | u64::from(range.end - range.start) << 32);
        Ok(())
    }

    fn write_strings(&mut self, index: usize, rows: &BTreeMap<Vec<u8>, Row>, map: &Table) -> Result<(), TableError> {
        for (text, row) in rows {
            if let Some(element) = self.dimensions[index].strings.get(text) {
                map.write(*element as usize, &padded(row, self.words));
                continue;
            }
            let used: usize = self.dimensions.iter().map(|dimension| dimension.strings.len()).sum();
            if used + self.retired_strings.len() >= self.sizes.strings as usize {
                return Err(TableError::Full);
            }
            let element = self.new_row(row, map)?;
            let key = string_key(index as u8, text);
            // A key that was about to be deleted is in use again.
            self.retired_strings.retain(|retired| *retired != key);
            self.maps.strings.set(&key, &element).map_err(|error| refused_key(&error))?;
            self.dimensions[index].strings.insert(text.clone(), element);
        }
        let gone: Vec<Vec<u8>> =
            self.dimensions[index].strings.keys().filter(|text| !rows.contains_key(*text)).cloned().collect();
        for text in gone {
            if let Some(element) = self.dimensions[index].strings.remove(&text) {
                self.retired_strings.push(string_key(index as u8, &text));
                self.retired_rows.push(element..element + 1);
            }
        }
        Ok(())
    }

    fn write_prefixes(&mut self, index: usize, rows: &[(PrefixName, &Row)], map: &Table) -> Result<(), TableError> {
        for (name, row) in rows {
            if let Some(element) = self.dimensions[index].prefixes.get(name) {
                map.write(*element as usize, &padded(row, self.words));
                continue;
            }
            let used: usize = self.dimensions.iter().map(|dimension| dimension.prefixes.len()).sum();
            if used + self.retired_prefixes.len() >= self.sizes.prefixes as usize {
                return Err(TableError::Full);
            }
            let element = self.new_row(row, map)?;
            let key = name.key(index as u8);
            self.retired_prefixes.retain(|retired| *retired != key);
            self.maps.prefixes.set(&key, &element).map_err(|error| refused_key(&error))?;
            self.dimensions[index].prefixes.insert(name.clone(), element);
        }
        let names: BTreeSet<&PrefixName> = rows.iter().map(|(name, _)| name).collect();
        let gone: Vec<PrefixName> =
            self.dimensions[index].prefixes.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Some(element) = self.dimensions[index].prefixes.remove(&name) {
                self.retired_prefixes.push(name.key(index as u8));
                self.retired_rows.push(element..element + 1);
            }
        }
        Ok(())
    }

    fn new_row(&mut self, row: &Row, map: &Table) -> Result<u32, TableError> {
        let element = self.rows.allocate(1).ok_or(TableError::Full)?.start;
        map.write(element as usize, &padded(row, self.words));
        Ok(element)
    }

    fn write_automaton(
        &mut self,
        index: usize,
        automaton: &Automaton,
        rows: &[Row],
        map: &Table,
    ) -> Result<(), TableError> {
        if self.dimensions[index].automaton.as_ref().is_some_and(|(_, current)| current == automaton) {
            self.write_rows(index, rows, map)?;
            return Ok(());
        }
        let current = self.dimensions[index].rows.take();
        self.write_rows(index, rows, map)?;
        self.retired_tables.extend(current);
        let row_start = self.dimensions[index].rows.as_ref().map_or(0, |range| range.start);
        let length = (AUTOMATON_BEGIN + automaton.accepts.len()) as u32;
        let range = self.substrings.allocate(length).ok_or(TableError::Full)?;
        let table = Table::map(&self.maps.substrings).map_err(TableError::Refused)?;
        let header = AutomatonHeader { rows: row_start, states: automaton.accepts.len() as u32 };
        let elements = [header.as_bytes().to_vec()]
            .into_iter()
            .chain(automaton.classes.chunks(CLASSES_IN_ELEMENT).map(<[u8]>::to_vec))
            .chain((0..automaton.accepts.len()).map(|state| state_of(automaton, state).as_bytes().to_vec()));
        for (element, bytes) in range.clone().zip(elements) {
            table.write_bytes(element as usize, &bytes);
        }
        self.switch(index, &range)?;
        let previous = self.dimensions[index].automaton.replace((range, automaton.clone()));
        self.retired_substrings.extend(previous.map(|(range, _)| range));
        Ok(())
    }

    /// Makes room again: a grace period has passed since the last write.
    pub(super) fn release_retired(&mut self) {
        for key in self.retired_strings.drain(..) {
            log_refusal(self.maps.strings.delete(&key));
        }
        for key in self.retired_prefixes.drain(..) {
            log_refusal(self.maps.prefixes.delete(&key));
        }
        for range in self.retired_tables.drain(..).chain(self.aging_rows.drain(..)) {
            self.rows.free(&range);
        }
        self.aging_rows.append(&mut self.retired_rows);
        for range in self.retired_substrings.drain(..) {
            self.substrings.free(&range);
        }
    }
}

fn log_refusal(deleted: libbpf_rs::Result<()>) {
    if let Err(error) = deleted {
        tracing::warn!(%error, "a key of a hook's table could not be deleted");
    }
}

fn refused_key(error: &libbpf_rs::Error) -> TableError {
    TableError::Refused(Problem::LoadFailed {
        what: "writing a key of a hook's table".into(),
        detail: error.to_string(),
    })
}

fn padded(row: &Row, words: usize) -> Vec<u64> {
    let mut all = row.0.clone();
    all.resize(words, 0);
    all
}

fn state_of(automaton: &Automaton, state: usize) -> AutomatonState {
    let width = usize::from(automaton.class_count);
    let mut to = AutomatonState { accepts: automaton.accepts[state], ..AutomatonState::default() };
    let from = automaton.next.get(state * width..(state + 1) * width).unwrap_or_default();
    to.next.iter_mut().zip(from).for_each(|(to, next)| *to = *next);
    to
}
