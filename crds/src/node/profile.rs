//! A `NodeProfile`: the list of parts that the nodes of a stack keep active. Immutable; a change makes another one.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::desired::{ApplicationSettings, ExportPlan, NetworkSettings};
use crate::bounds::DIGEST;

/// The parts, sorted by name. The object's name ends in its digest.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "NodeProfile",
    plural = "nodeprofiles",
    shortname = "tbnp",
    category = "trilobite-internal",
    derive = "PartialEq",
    doc = "The parts that a pool of nodes keeps active; immutable"
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a NodeProfile cannot change; its name is its content"))]
#[serde(rename_all = "camelCase")]
pub struct NodeProfileSpec {
    /// Name of the stack that the profile belongs to.
    #[validate(length(max = 253))]
    pub stack: String,
    /// The pool of nodes; `default` until pools exist.
    #[validate(length(max = 63))]
    pub pool: String,
    /// Hex sha256 of the canonical JSON of the other fields.
    #[validate(regex(path = *DIGEST, message = "must be a hex sha256"), length(max = 64))]
    pub digest: String,
    /// Nothing is active; the agents keep running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The parts, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 2048), nested)]
    pub parts: Vec<PartRef>,
    /// Where the agent writes events in addition to its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportPlan>,
    /// Settings of the application layer that differ from their defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub application: Option<ApplicationSettings>,
    /// Settings of the network layer that differ from their defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub network: Option<NetworkSettings>,
}

/// A part by name and content.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartRef {
    /// Name of the ProfilePart.
    #[validate(length(max = 253))]
    pub name: String,
    /// `spec.digest` of the ProfilePart.
    #[validate(length(max = 64))]
    pub digest: String,
}
