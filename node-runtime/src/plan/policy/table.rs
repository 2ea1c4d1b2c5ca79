//! Predicates -> tables: the rows of each dimension, for the selectors of a hook.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    automaton::{Automaton, TooLarge},
    binaries::BinaryTables,
    dimension::{Answers, DimensionKind, DimensionPlan, DimensionTable, Network, Operand, ProcessFact},
    hook_plan::{SelectorPlan, Width},
    predicate::{Predicate, Term, ValueSet},
    ranges,
    row::Row,
};

/// The tables of all dimensions. An automaton that is too large is not built; `merge` has refused it.
pub(super) fn build_tables(
    dimensions: &[DimensionPlan],
    selectors: &[&SelectorPlan],
    width: Width,
    binaries: &BinaryTables,
) -> Result<Vec<DimensionTable>, TooLarge> {
    dimensions.iter().map(|dimension| build_table(dimension, selectors, width, binaries)).collect()
}

fn build_table(
    dimension: &DimensionPlan,
    selectors: &[&SelectorPlan],
    width: Width,
    binaries: &BinaryTables,
) -> Result<DimensionTable, TooLarge> {
    let empty = Row::empty(width.words());
    let (mut negated, mut does_not_care) = (empty.clone(), empty.clone());
    let mut predicates = Vec::new();
    for selector in selectors {
        match selector.predicates.iter().find(|predicate| predicate.dimension == *dimension) {
            None => does_not_care.add(selector.bit),
            Some(predicate) => {
                if predicate.matches_nothing_known() {
                    negated.add(selector.bit);
                }
                predicates.push((selector.bit, predicate));
            }
        }
    }
    let answers = match dimension.kind {
        DimensionKind::Interval => interval_answers(&predicates, &empty),
        DimensionKind::Bytes => Answers::Bytes { rows: byte_rows(&predicates, &empty) },
        DimensionKind::Exact => {
            let rows = exact_rows(&predicates, &empty);
            Answers::Exact { rows }
        }
        DimensionKind::Prefix => Answers::Affix { rows: affix_rows(&predicates, &BTreeSet::new(), false, &empty) },
        DimensionKind::Suffix => Answers::Affix { rows: affix_rows(&predicates, &BTreeSet::new(), true, &empty) },
        DimensionKind::Address => Answers::Address { rows: address_rows(&predicates, &empty) },
        DimensionKind::Substring => {
            let (automaton, rows) = substring_rows(&predicates, dimension.ignore_case)?;
            Answers::Substring { automaton, rows }
        }
        DimensionKind::Id => Answers::Id { rows: id_rows(dimension.operand, &predicates, binaries, &empty) },
    };
    Ok(DimensionTable { answers, negated, does_not_care })
}

type Predicates<'a> = [(u16, &'a Predicate)];

/// A bit in a row means: the answer is another than that for an operand that is in no set.
fn row_bit(predicate: &Predicate, is_in: impl Fn(&Term) -> bool) -> bool {
    predicate.terms.iter().all(|term| is_in(term) != term.is_negated) != predicate.matches_nothing_known()
}

fn interval_answers(predicates: &Predicates<'_>, empty: &Row) -> Answers {
    // Where a selector's bit begins and ends. One past the greatest number is no bound.
    let mut edges: BTreeMap<i64, Vec<u16>> = BTreeMap::new();
    for (bit, predicate) in predicates {
        for (from, to) in deviating_ranges(predicate) {
            edges.entry(from).or_default().push(*bit);
            if let Some(after) = to.checked_add(1) {
                edges.entry(after).or_default().push(*bit);
            }
        }
    }
    let (mut bounds, mut rows) = (vec![i64::MIN], vec![empty.clone()]);
    let mut row = empty.clone();
    for (bound, bits) in edges {
        for bit in bits {
            row.flip(bit);
        }
        if bound == i64::MIN {
            rows[0] = row.clone();
        } else if rows.last() != Some(&row) {
            bounds.push(bound);
            rows.push(row.clone());
        }
    }
    Answers::Interval { bounds, rows }
}

/// The numbers whose answer is another than that for an unreadable one; ranges in order that do not touch.
fn deviating_ranges(predicate: &Predicate) -> Vec<(i64, i64)> {
    let set = |term: &Term| match &term.set {
        ValueSet::Ranges(ranges) => ranges.clone(),
        _ => Vec::new(),
    };
    let negated = predicate.terms.iter().filter(|term| term.is_negated);
    let excluded = ranges::union(negated.flat_map(set));
    if predicate.matches_nothing_known() {
        return excluded;
    }
    let positive = predicate.terms.iter().filter(|term| !term.is_negated);
    let included =
        positive.map(|term| ranges::union(set(term))).reduce(|one, other| ranges::intersection(&one, &other));
    ranges::intersection(&included.unwrap_or_default(), &ranges::complement(&excluded))
}

fn byte_rows(predicates: &Predicates<'_>, empty: &Row) -> Vec<Row> {
    let mut rows = vec![empty.clone(); 8 * 256];
    for (bit, predicate) in predicates {
        let mask = predicate.terms.iter().fold(0, |mask, term| match term.set {
            ValueSet::Mask(bits) => mask | bits,
            _ => mask,
        });
        for (byte, part) in mask.to_le_bytes().into_iter().enumerate().filter(|(_, part)| *part != 0) {
            for value in (0..=u8::MAX).filter(|value| value & part != 0) {
                rows[256 * byte + usize::from(value)].add(*bit);
            }
        }
    }
    rows
}

fn texts(term: &Term) -> impl Iterator<Item = &Vec<u8>> {
    match &term.set {
        ValueSet::Texts(texts) => Some(texts),
        _ => None,
    }
    .into_iter()
    .flatten()
}

fn exact_rows(predicates: &Predicates<'_>, empty: &Row) -> BTreeMap<Vec<u8>, Row> {
    let mut rows: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
    for (bit, predicate) in predicates {
        for text in predicate.terms.iter().flat_map(texts) {
            if row_bit(predicate, |term| matches!(&term.set, ValueSet::Texts(set) if set.binary_search(text).is_ok())) {
                rows.entry(text.clone()).or_insert_with(|| empty.clone()).add(*bit);
            }
        }
    }
    rows
}

/// Rows by prefix, or by reversed suffix; `further` are keys that need a row too.
fn affix_rows(
    predicates: &Predicates<'_>,
    further: &BTreeSet<Vec<u8>>,
    reversed: bool,
    empty: &Row,
) -> BTreeMap<Vec<u8>, Row> {
    let key = |text: &Vec<u8>| if reversed { text.iter().rev().copied().collect() } else { text.clone() };
    let own = |predicate: &Predicate| predicate.terms.iter().flat_map(texts).map(key).collect::<BTreeSet<Vec<u8>>>();
    let mut rows: BTreeMap<Vec<u8>, Row> = further.iter().map(|key| (key.clone(), empty.clone())).collect();
    for (_, predicate) in predicates {
        for key in own(predicate) {
            rows.entry(key).or_insert_with(|| empty.clone());
        }
    }
    for (bit, predicate) in predicates {
        let terms: Vec<(bool, BTreeSet<Vec<u8>>)> =
            predicate.terms.iter().map(|term| (term.is_negated, texts(term).map(key).collect())).collect();
        // A longer key comes after its prefixes, so its own answer overwrites theirs.
        for key in own(predicate) {
            let all = terms.iter().all(|(is_negated, set)| has_prefix_of(set, &key) != *is_negated);
            let is_set = all != predicate.matches_nothing_known();
            for (_, row) in rows.range_mut(key.clone()..).take_while(|(longer, _)| longer.starts_with(&key)) {
                row.set(*bit, is_set);
            }
        }
    }
    rows
}

fn has_prefix_of(set: &BTreeSet<Vec<u8>>, key: &[u8]) -> bool {
    (0..=key.len()).any(|length| set.contains(&key[..length]))
}

fn address_rows(predicates: &Predicates<'_>, empty: &Row) -> BTreeMap<Network, Row> {
    let networks = |term: &Term| match &term.set {
        ValueSet::Networks(networks) => networks.clone(),
        _ => Vec::new(),
    };
    let mut rows: BTreeMap<Network, Row> = BTreeMap::new();
    for (_, predicate) in predicates {
        for network in predicate.terms.iter().flat_map(networks) {
            rows.entry(network).or_insert_with(|| empty.clone());
        }
    }
    for (bit, predicate) in predicates {
        let terms: Vec<(bool, Vec<Network>)> =
            predicate.terms.iter().map(|term| (term.is_negated, networks(term))).collect();
        let own: BTreeSet<Network> = terms.iter().flat_map(|(_, set)| set.iter().copied()).collect();
        for network in own {
            let all = terms.iter().all(|(is_negated, set)| has_network_of(set, &network) != *is_negated);
            let is_set = all != predicate.matches_nothing_known();
            for (_, row) in rows.range_mut(network..).take_while(|(inner, _)| network.contains(inner)) {
                row.set(*bit, is_set);
            }
        }
    }
    rows
}

/// Whether one of these networks, in order, has all addresses of another.
fn has_network_of(set: &[Network], network: &Network) -> bool {
    let wider = |bits| Network::new(network.family, network.address, bits);
    (0..=network.bits).any(|bits| set.binary_search(&wider(bits)).is_ok())
}

fn substring_rows(predicates: &Predicates<'_>, ignore_case: bool) -> Result<(Automaton, Vec<Row>), TooLarge> {
    let mut patterns: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
    let words = predicates.iter().map(|(bit, _)| usize::from(*bit) / 64 + 1).max().unwrap_or(1);
    let empty = Row(vec![0; words]);
    for (bit, predicate) in predicates {
        for text in predicate.terms.iter().flat_map(texts) {
            let pattern = if ignore_case { text.to_ascii_lowercase() } else { text.clone() };
            patterns.entry(pattern).or_insert_with(|| empty.clone()).add(*bit);
        }
    }
    Automaton::build(&patterns, ignore_case)
}

fn id_rows(operand: Operand, predicates: &Predicates<'_>, binaries: &BinaryTables, empty: &Row) -> Vec<Row> {
    let Operand::Process(fact) = operand else { return vec![empty.clone()] };
    let (ids, rows) = match fact {
        ProcessFact::BinaryExact | ProcessFact::ParentBinaryExact => (&binaries.exact, exact_rows(predicates, empty)),
        ProcessFact::BinaryPrefix | ProcessFact::ParentBinaryPrefix => {
            let keys = binaries.prefixes.keys().cloned().collect();
            (&binaries.prefixes, affix_rows(predicates, &keys, false, empty))
        }
        ProcessFact::BinarySuffix | ProcessFact::ParentBinarySuffix => {
            let keys = binaries.suffixes.keys().cloned().collect();
            (&binaries.suffixes, affix_rows(predicates, &keys, true, empty))
        }
        _ => return vec![empty.clone()],
    };
    let last = ids.values().max().copied().unwrap_or_default();
    let mut by_id = vec![empty.clone(); last as usize + 1];
    for (text, id) in ids {
        if let Some(row) = rows.get(text) {
            by_id[*id as usize] = row.clone();
        }
    }
    by_id
}

impl Network {
    /// Whether every address of `other` is one of this network.
    pub fn contains(&self, other: &Self) -> bool {
        self.family == other.family && self.bits <= other.bits && masked(other.address, self.bits) == self.address
    }

    pub fn of_ipv4(address: std::net::Ipv4Addr, bits: u8) -> Self {
        let mut all = [0; 16];
        all[..4].copy_from_slice(&address.octets());
        Self::new(4, all, bits)
    }

    /// The network of an address: bits behind `bits` are cleared.
    pub fn new(family: u8, address: [u8; 16], bits: u8) -> Self {
        Self { family, address: masked(address, bits), bits }
    }
}

fn masked(mut address: [u8; 16], bits: u8) -> [u8; 16] {
    let bits = usize::from(bits);
    for (index, byte) in address.iter_mut().enumerate() {
        let kept = bits.saturating_sub(8 * index).min(8);
        *byte &= u8::try_from(0xff00_u16 >> kept & 0xff).unwrap_or_default();
    }
    address
}
