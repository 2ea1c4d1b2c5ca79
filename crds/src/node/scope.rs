//! The pods that a part or a session is about, and the user's resource that asked for it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::selector::{self, Labels, SelectorError};

/// The kinds of user resources that ask nodes for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SourceKind {
    /// The stack itself, for what runs because a layer is Enabled.
    ObservabilityStack,
    /// A cluster-wide tracing policy.
    TracingPolicy,
    /// A tracing policy for the pods of its own namespace.
    TracingPolicyNamespaced,
    /// The flows of some pods, for a limited time.
    FlowCapture,
    /// A CPU profile of some pods, for a limited time.
    AppProfile,
}

impl SourceKind {
    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::ObservabilityStack | Self::TracingPolicy => false,
            Self::TracingPolicyNamespaced | Self::FlowCapture | Self::AppProfile => true,
        }
    }
}

/// The resource that asked, at the generation that asked. What a node reports about a part is mapped back by it.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Kind of the resource.
    pub kind: SourceKind,
    /// Namespace of the resource; unset for a cluster-scoped kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 63))]
    pub namespace: Option<String>,
    /// Name of the resource.
    #[validate(length(max = 253))]
    pub name: String,
    /// `metadata.generation` of the resource; 1 where there is no API server.
    pub generation: i64,
}

impl fmt::Display for Source {
    /// `Kind/name` or `Kind/namespace/name`, as `kubectl describe` and the metrics show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{:?}/{}/{}", self.kind, namespace, self.name),
            None => write!(f, "{:?}/{}", self.kind, self.name),
        }
    }
}

/// A selection of pods. Every field that is set must match; an empty scope means every pod of the node.
#[derive(Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodScope {
    /// Only pods of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 63))]
    pub namespace: Option<String>,
    /// Only pods of namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub namespace_selector: Option<LabelSelector>,
    /// Only pods with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: Option<LabelSelector>,
    /// Includes processes outside any pod.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_host: bool,
}

impl PodScope {
    /// Whether a pod is in this scope.
    pub fn matches(
        &self,
        namespace: &str,
        namespace_labels: &Labels,
        pod_labels: &Labels,
    ) -> Result<bool, SelectorError> {
        let mut all = self.namespace.as_ref().is_none_or(|required| required == namespace);
        if let Some(selector) = &self.namespace_selector {
            all &= selector::matches(selector, namespace_labels)?;
        }
        if let Some(selector) = &self.pod_selector {
            all &= selector::matches_pod(selector, namespace, pod_labels)?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    #[test]
    fn pod_selector_can_name_the_namespace_as_in_tetragon() {
        let requirement = LabelSelectorRequirement {
            key: selector::NAMESPACE_LABEL.into(),
            operator: "In".into(),
            values: Some(vec!["payments".into()]),
        };
        let selector = LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None };
        let scope = PodScope { pod_selector: Some(selector), ..PodScope::default() };
        assert_eq!(scope.matches("payments", &Labels::new(), &Labels::new()), Ok(true));
        assert_eq!(scope.matches("shop", &Labels::new(), &Labels::new()), Ok(false));
    }
}
