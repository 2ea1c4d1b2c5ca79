//! The CRDs as the API server gets them: what the derive makes of the Rust types, rewritten to what Kubernetes likes.

mod check;
mod columns;
mod rewrite;

use kube::CustomResourceExt;
use serde_json::Value;

pub use check::{Violation, check};

use crate::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced,
    node::{NodeProfile, NodeRuntime, ProfilePart},
};

/// Every CRD of this version, user kinds first.
pub fn crds() -> Vec<Value> {
    vec![
        user_crd::<ObservabilityStack>(),
        user_crd::<TracingPolicy>(),
        user_crd::<TracingPolicyNamespaced>(),
        columns::of_bounded_kinds(user_crd::<FlowCapture>()),
        columns::of_bounded_kinds(user_crd::<AppProfile>()),
        rewrite::crd(ProfilePart::crd()),
        rewrite::crd(NodeProfile::crd()),
        columns::of_nodes(rewrite::crd(NodeRuntime::crd())),
    ]
}

/// The CRD of a kind that people write: with the common columns, and a status that says that nobody has looked.
pub fn user_crd<K: CustomResourceExt>() -> Value {
    columns::of_user_kinds(rewrite::unobserved(rewrite::crd(K::crd())))
}

/// The schema of a CRD's only version.
pub fn schema_of(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}
