//! A `NodeProfile`: the list of parts that a pool of nodes keeps in force. Immutable; a change makes another one.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parts, sorted by name. Its name ends in the digest.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "NodeProfile",
    plural = "nodeprofiles",
    shortname = "tbnp",
    category = "trilobite-internal",
    derive = "PartialEq",
    doc = "The parts that a pool of nodes keeps in force; immutable"
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a NodeProfile cannot change; its name is its content"))]
#[serde(rename_all = "camelCase")]
pub struct NodeProfileSpec {
    /// The stack it belongs to.
    #[schemars(length(max = 253))]
    pub stack: String,
    /// The pool of nodes; `default` until pools exist.
    #[schemars(length(max = 63))]
    pub pool: String,
    /// Hex sha256 of the canonical JSON of everything else here.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"), length(max = 64))]
    pub digest: String,
    /// Nothing is in force, agents stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The parts, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
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
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its `spec.digest`.
    #[schemars(length(max = 64))]
    pub digest: String,
}
