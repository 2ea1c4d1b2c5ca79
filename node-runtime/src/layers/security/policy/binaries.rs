//! The ids of binaries in the kernel: keys that all hooks share.

use std::collections::BTreeMap;

use super::hook::{SharedMaps, prefix_key, string_key};
use crate::{plan::policy::BinaryTables, problem::Problem};

/// Numbers of the tables in their maps, where hooks have the number of a dimension.
const EXACT: u8 = 0;
const PREFIX: u8 = 1;
const SUFFIX: u8 = 2;

/// Adds the ids that `wanted` has and `active` has not. Ids do not change.
pub(super) fn add_ids(maps: &SharedMaps, active: &BinaryTables, wanted: &BinaryTables) -> Result<(), Problem> {
    let refused = |error: libbpf_rs::Error| Problem::LoadFailed {
        what: "writing the table of binaries".into(),
        detail: error.to_string(),
    };
    for (text, id) in missing(&wanted.exact, &active.exact) {
        maps.binary_names.set(&string_key(EXACT, text), id).map_err(refused)?;
    }
    for (text, id) in missing(&wanted.prefixes, &active.prefixes) {
        maps.binary_affixes.set(&prefix_key(PREFIX, text), id).map_err(refused)?;
    }
    for (text, id) in missing(&wanted.suffixes, &active.suffixes) {
        maps.binary_affixes.set(&prefix_key(SUFFIX, text), id).map_err(refused)?;
    }
    Ok(())
}

/// Removes the ids that `wanted` has not.
pub(super) fn remove_ids(maps: &SharedMaps, active: &BinaryTables, wanted: &BinaryTables) {
    let names =
        missing(&active.exact, &wanted.exact).map(|(text, _)| maps.binary_names.delete(&string_key(EXACT, text)));
    let prefixes = missing(&active.prefixes, &wanted.prefixes)
        .map(|(text, _)| maps.binary_affixes.delete(&prefix_key(PREFIX, text)));
    let suffixes = missing(&active.suffixes, &wanted.suffixes)
        .map(|(text, _)| maps.binary_affixes.delete(&prefix_key(SUFFIX, text)));
    for error in names.chain(prefixes).chain(suffixes).filter_map(Result::err) {
        tracing::warn!(%error, "an id of a binary could not be removed");
    }
}

fn missing<'a>(
    of: &'a BTreeMap<Vec<u8>, u32>,
    from: &'a BTreeMap<Vec<u8>, u32>,
) -> impl Iterator<Item = (&'a Vec<u8>, &'a u32)> {
    of.iter().filter(|(text, _)| !from.contains_key(*text))
}
