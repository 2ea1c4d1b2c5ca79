//! Counts by name, bounded.

use std::collections::BTreeMap;

use trilobite_tables::Row;
use trilobite_worker_wire::RequestCounts;

/// Names that are counted; the rest is counted as `other`.
const NAMES_MAX: usize = 15;

pub(super) fn count_row(counts: &mut RequestCounts, row: &Row) {
    count_name(&mut counts.rows, row.protocol().as_str());
}

pub(super) fn count_name(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
        return;
    }
    let name = if counts.len() < NAMES_MAX { name } else { "other" };
    *counts.entry(name.to_owned()).or_default() += 1;
}
