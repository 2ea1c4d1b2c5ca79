//! `TracingPolicy` and `TracingPolicyNamespaced`: one spec, two scopes.
//! Every field of Tetragon's spec is kept as written; `planner/read_policy.rs` reads it, and refuses by path what is not supported.

mod tracepoint;

use std::{collections::BTreeMap, ops::Deref};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationErrors};

pub use tracepoint::{Tracepoint, TracepointAction, TracepointArgSpec, TracepointSelector};

use crate::{selector, status::ResourceStatus};

/// Hooks in the kernel and the pods whose events they emit; the spec of both kinds.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Selects pods by their labels, e.g. `matchLabels: {app: checkout}`. Unset selects every pod of the policy's namespace;
    /// in a TracingPolicy, every pod of the cluster and the processes of the nodes themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: Option<LabelSelector>,
    /// The tracepoints to follow, e.g. `[{subsystem: sched, event: sched_process_fork}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32), nested)]
    pub tracepoints: Vec<Tracepoint>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The same spec for the pods of the policy's own namespace. kube derives one kind from one type, hence the wrapper.
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

impl Deref for NamespacedSpec {
    type Target = TracingPolicySpec;

    fn deref(&self) -> &TracingPolicySpec {
        &self.0
    }
}

impl Validate for NamespacedSpec {
    fn validate(&self) -> Result<(), ValidationErrors> {
        self.0.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn violations_have_the_paths_of_the_json() {
        let arg = TracepointArgSpec { index: 200, r#type: String::new(), ..TracepointArgSpec::default() };
        let hook = Tracepoint {
            subsystem: "sched".into(),
            event: "../sys_enter".into(),
            args: vec![arg],
            tags: vec!["shop".into(), "x".into()],
            ..Tracepoint::default()
        };
        let spec = TracingPolicySpec { tracepoints: vec![hook], ..TracingPolicySpec::default() };
        let found: Vec<String> =
            bounds::violations(&NamespacedSpec(spec), "spec").iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.tracepoints[0].args[0].index: 200 must be at most 127",
                "spec.tracepoints[0].args[0].type: must have at least 1 characters, has 0",
                "spec.tracepoints[0].event: \"../sys_enter\" must consist of letters, digits and _",
                "spec.tracepoints[0].tags[1]: must have at least 2 characters, has 1",
            ]
        );
    }

    #[test]
    fn overlong_list_is_one_violation() {
        let spec = TracingPolicySpec { tracepoints: vec![Tracepoint::default(); 33], ..TracingPolicySpec::default() };
        let found = bounds::violations(&spec, "spec");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "spec.tracepoints: must have at most 32 items, has 33");
    }
}
