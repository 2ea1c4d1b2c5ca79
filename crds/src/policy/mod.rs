//! `TracingPolicy` and `TracingPolicyNamespaced`: one spec, two scopes.
//! Every field of Tetragon's spec is kept as written; the planner refuses by path what is not carried out.

mod tracepoint;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use tracepoint::{Tracepoint, TracepointAction, TracepointArgSpec, TracepointSelector};

use crate::status::ResourceStatus;

/// Hooks in the kernel, for the pods of every namespace in the stack's scope.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "TracingPolicy",
    plural = "tracingpolicies",
    shortname = "tbtp",
    category = "trilobite",
    status = "ResourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Hooks in the kernel whose events are shown, for the pods of all namespaces"
)]
#[serde(rename_all = "camelCase")]
pub struct TracingPolicySpec {
    /// Only pods with these labels; unset means every pod, and the node's own processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// The tracepoints to follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tracepoints: Vec<Tracepoint>,
    /// Whatever else was written, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Hooks in the kernel, for the pods of the policy's own namespace.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "TracingPolicyNamespaced",
    plural = "tracingpoliciesnamespaced",
    shortname = "tbtpn",
    category = "trilobite",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Hooks in the kernel whose events are shown, for the pods of one namespace"
)]
#[serde(rename_all = "camelCase")]
pub struct TracingPolicyNamespacedSpec {
    /// Only pods with these labels; unset means every pod of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// The tracepoints to follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tracepoints: Vec<Tracepoint>,
    /// Whatever else was written, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl From<TracingPolicyNamespacedSpec> for TracingPolicySpec {
    fn from(spec: TracingPolicyNamespacedSpec) -> Self {
        let TracingPolicyNamespacedSpec { pod_selector, tracepoints, other } = spec;
        Self { pod_selector, tracepoints, other }
    }
}
