//! The CRDs, made from the Rust types, and what an API server checks by them.

mod columns;
mod described_once;
mod read;
mod rewrite;
mod rules;
mod structure;

use kube::CustomResourceExt;
use serde_json::Value;

pub use read::read;

use crate::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, TracingPolicy,
    TracingPolicyNamespaced,
    node::{NodeProfile, NodeRuntime, ProfilePart},
};

/// Every CRD of this version, user kinds first.
pub fn crds() -> Vec<Value> {
    vec![
        user_crd::<ObservabilityStack>(),
        policy_crd::<TracingPolicy>(),
        policy_crd::<TracingPolicyNamespaced>(),
        columns::time_limited_columns(user_crd::<FlowCapture>()),
        columns::app_profile_columns(user_crd::<AppProfile>()),
        rewrite::crd(ProfilePart::crd()),
        rewrite::crd(NodeProfile::crd()),
        columns::node_columns(rewrite::crd(NodeRuntime::crd())),
    ]
}

/// The CRDs of Tetragon's API group, for clusters where Tetragon is not installed.
pub fn cilium_crds() -> Vec<Value> {
    vec![policy_crd::<CiliumTracingPolicy>(), policy_crd::<CiliumTracingPolicyNamespaced>()]
}

/// The CRD of a kind that users write, with its columns and a default status for an object not reconciled yet.
pub fn user_crd<K: CustomResourceExt>() -> Value {
    columns::user_columns(rewrite::unobserved(rewrite::crd(K::crd())))
}

fn policy_crd<K: CustomResourceExt>() -> Value {
    described_once::describe_once(user_crd::<K>())
}

/// The schema of the only version of a CRD.
pub fn schema_of(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}
