//! Probes that programs were built with. Not supported yet.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::Validate;

use super::{MAX_ARGUMENTS, MAX_MESSAGE, MAX_SELECTORS, MAX_TAG, MAX_TAGS, MIN_TAG, check_tags};
use crate::policy::{argument::Argument, selector::Selector};

/// A probe that a program was built with.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usdt {
    /// Path of the program.
    #[validate(length(min = 1, max = 4096))]
    pub path: String,
    /// Path of a BTF file for the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 4096))]
    pub btf_path: String,
    /// The probe's provider.
    #[validate(length(min = 1, max = 256))]
    pub provider: String,
    /// The probe's name.
    #[validate(length(min = 1, max = 256))]
    pub name: String,
    /// The arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_ARGUMENTS), nested)]
    pub args: Vec<Argument>,
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
