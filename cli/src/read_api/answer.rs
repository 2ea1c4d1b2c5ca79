//! Answers of the read API.

use serde::Deserialize;
use serde_json::Value;

use super::coverage::Coverage;

/// A list of objects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct List {
    pub(super) metadata: Metadata,
    pub(crate) items: Vec<Item>,
    pub(crate) coverage: Coverage,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) resource_version: String,
    pub(super) annotations: std::collections::BTreeMap<String, String>,
}

/// One object: Tetragon's, Hubble's or our own JSON in Kubernetes' frame.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Item {
    pub(super) metadata: Metadata,
    pub(crate) object: Value,
}

/// A line of a watch.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct WatchLine {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: Value,
}
