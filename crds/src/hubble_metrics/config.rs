//! The form of Hubble's dynamic configuration, as users write it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// One metric with its options.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricConfig {
    /// Hubble's name of it, e.g. `drop`.
    #[validate(length(max = 63))]
    pub name: String,
    /// Its options, e.g. `sourceContext`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16), nested)]
    pub context_options: Vec<ContextOption>,
}

/// One option of a metric.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextOption {
    /// Hubble's name of it, e.g. `sourceContext`, `labelsContext` or `port`.
    #[validate(length(max = 63))]
    pub name: String,
    /// Its values, e.g. `workload-name` and `reserved-identity`: the first that gives a text is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 63)))]
    #[validate(length(max = 16))]
    pub values: Vec<String>,
}
