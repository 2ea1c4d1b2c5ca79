//! Functions of programs. Not supported yet.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

use super::{MAX_ARGUMENTS, MAX_MESSAGE, MAX_SELECTORS, MAX_TAG, MAX_TAGS, MIN_TAG, check_tags};
use crate::{
    bounds::{self, MAX_COUNT},
    policy::{argument::Argument, selector::Selector},
};

/// Most places of one uprobe.
const MAX_PLACES: u64 = 1024;
const MAX_SYMBOL: usize = 1024;

/// A function of a program.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uprobe {
    /// Path of the program, e.g. `/bin/bash`.
    #[validate(length(min = 1, max = 4096))]
    pub path: String,
    /// Whether `path` is looked up in the selected containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolve_path_in_container: bool,
    /// Path of a BTF file for the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 4096))]
    pub btf_path: String,
    /// Names of functions, e.g. `[readline]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = MAX_SYMBOL)))]
    #[validate(length(max = MAX_PLACES), custom(function = check_symbols))]
    pub symbols: Vec<String>,
    /// Offsets in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 0, max = MAX_COUNT)))]
    #[validate(length(max = MAX_PLACES), custom(function = check_counts))]
    pub offsets: Vec<i64>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 0, max = MAX_COUNT)))]
    #[validate(length(max = MAX_PLACES), custom(function = check_counts))]
    pub addrs: Vec<i64>,
    /// Offsets of reference counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 0, max = MAX_COUNT)))]
    #[validate(length(max = MAX_PLACES), custom(function = check_counts))]
    pub ref_ctr_offsets: Vec<i64>,
    /// Digests that the program must have one of, e.g. `sha256:...`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = MAX_SYMBOL)))]
    #[validate(length(max = MAX_PLACES), custom(function = check_symbols))]
    pub binary_digests: Vec<String>,
    /// What is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub ignore: Option<UprobeIgnore>,
    /// Emits the event when the function returns, with `returnArg`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub r#return: bool,
    /// How the returned value is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub return_arg: Option<Argument>,
    /// The arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_ARGUMENTS), nested)]
    pub args: Vec<Argument>,
    /// Other values to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_ARGUMENTS), nested)]
    pub data: Vec<Argument>,
    /// A text that each event shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = MAX_MESSAGE))]
    pub message: String,
    /// Tags that each event shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = MIN_TAG, max = MAX_TAG)))]
    #[validate(length(max = MAX_TAGS), custom(function = check_tags))]
    pub tags: Vec<String>,
    /// Alternatives of filters, each with its actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_SELECTORS), nested)]
    pub selectors: Vec<Selector>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What is ignored.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UprobeIgnore {
    /// Leaves the hook out where the program has none of the digests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub digest_verification_failure: bool,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn check_symbols(symbols: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(symbols, |symbol| bounds::length_problem(symbol, 0, MAX_SYMBOL))
}

fn check_counts(counts: &[i64]) -> Result<(), ValidationError> {
    bounds::check_items(counts, |count| {
        (!(0..=MAX_COUNT).contains(count)).then(|| format!("{count} must be 0 to {MAX_COUNT}"))
    })
}
