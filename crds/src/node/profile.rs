//! A `NodeProfile`: the list of parts that a pool of nodes keeps in force. Immutable; a change makes another one.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parts, sorted by name. Its name ends in the digest.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "NodeProfile",
    plural = "nodeprofiles",
    derive = "PartialEq",
    doc = "The parts that a pool of nodes keeps in force; immutable"
)]
#[serde(rename_all = "camelCase")]
pub struct NodeProfileSpec {
    /// The stack it belongs to.
    pub stack: String,
    /// The pool of nodes; `default` until pools exist.
    pub pool: String,
    /// Hex sha256 of the canonical JSON of `stack`, `pool` and `parts`.
    pub digest: String,
    /// Nothing is in force, agents stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The parts, sorted by name.
    #[serde(default)]
    pub parts: Vec<PartRef>,
    /// What the agent does with events: where they are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<crate::node::desired::ExportPlan>,
}

/// A part by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartRef {
    /// `metadata.name` of the ProfilePart.
    pub name: String,
    /// Its `spec.digest`.
    pub digest: String,
}
