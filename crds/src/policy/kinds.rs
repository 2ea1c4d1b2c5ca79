//! The other kinds with the same spec. kube derives one kind from one type, hence the wrappers.

use std::ops::Deref;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationErrors};

use super::TracingPolicySpec;
use crate::status::ResourceStatus;

/// The same spec for the pods of the policy's own namespace.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[serde(transparent)]
pub struct NamespacedSpec(pub TracingPolicySpec);

/// The same spec in Tetragon's API group.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cilium.io",
    version = "v1alpha1",
    kind = "TracingPolicy",
    root = "CiliumTracingPolicy",
    plural = "tracingpolicies",
    singular = "tracingpolicy",
    shortname = "tgtp",
    category = "tetragon",
    status = "ResourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Hooks in the kernel whose events are shown, for the pods of all namespaces; as for Tetragon"
)]
#[serde(transparent)]
pub struct CiliumSpec(pub TracingPolicySpec);

/// The same spec in Tetragon's API group, for the pods of the policy's own namespace.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cilium.io",
    version = "v1alpha1",
    kind = "TracingPolicyNamespaced",
    root = "CiliumTracingPolicyNamespaced",
    plural = "tracingpoliciesnamespaced",
    singular = "tracingpolicynamespaced",
    shortname = "tgtpn",
    category = "tetragon",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Hooks in the kernel whose events are shown, for the pods of one namespace; as for Tetragon"
)]
#[serde(transparent)]
pub struct CiliumNamespacedSpec(pub TracingPolicySpec);

macro_rules! wraps_the_spec {
    ($($wrapper:ident),+) => {$(
        impl Deref for $wrapper {
            type Target = TracingPolicySpec;

            fn deref(&self) -> &TracingPolicySpec {
                &self.0
            }
        }

        impl Validate for $wrapper {
            fn validate(&self) -> Result<(), ValidationErrors> {
                self.0.validate()
            }
        }
    )+};
}

wraps_the_spec!(NamespacedSpec, CiliumSpec, CiliumNamespacedSpec);
