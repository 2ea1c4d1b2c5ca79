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
    /// A cluster-wide tracing policy of Tetragon's API group.
    CiliumTracingPolicy,
    /// A tracing policy of Tetragon's API group for the pods of its own namespace.
    CiliumTracingPolicyNamespaced,
}

impl SourceKind {
    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::ObservabilityStack | Self::TracingPolicy | Self::CiliumTracingPolicy => false,
            Self::TracingPolicyNamespaced
            | Self::FlowCapture
            | Self::AppProfile
            | Self::CiliumTracingPolicyNamespaced => true,
        }
    }

    /// Whether objects of this kind are tracing policies.
    pub fn is_policy(self) -> bool {
        matches!(
            self,
            Self::TracingPolicy
                | Self::TracingPolicyNamespaced
                | Self::CiliumTracingPolicy
                | Self::CiliumTracingPolicyNamespaced
        )
    }

    /// Whether another project's CRD may define this kind, which then has no status.
    pub fn is_foreign(self) -> bool {
        matches!(self, Self::CiliumTracingPolicy | Self::CiliumTracingPolicyNamespaced)
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
    /// Only containers with these values of `name`, and of `repo`, the image without tag and digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub container_selector: Option<LabelSelector>,
    /// Includes processes outside any pod.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_host: bool,
    /// No pods: only the processes outside any pod that `includeHost` includes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_pods: bool,
    /// A second selection that must match too: `matchWorkloads` of one selector of a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub workload: Option<WorkloadScope>,
}

/// The pods, containers and host of `matchWorkloads`.
#[derive(Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadScope {
    /// Only pods with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: Option<LabelSelector>,
    /// Only containers with these values of `name` and `repo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub container_selector: Option<LabelSelector>,
    /// Includes processes outside any pod.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_host: bool,
    /// No pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_pods: bool,
}

impl WorkloadScope {
    /// As in Tetragon: nothing set means everything, `hostSelector` alone the host alone, and a selector of pods or containers
    /// leaves the host out unless `hostSelector` is set too.
    pub fn new(pods: Option<LabelSelector>, containers: Option<LabelSelector>, host: bool) -> Self {
        let selects_pods = pods.is_some() || containers.is_some();
        Self {
            include_host: host || !selects_pods,
            without_pods: host && !selects_pods,
            pod_selector: pods,
            container_selector: containers,
        }
    }
}

impl PodScope {
    /// The scope of a policy with these selectors in its spec: `namespace` is that of a namespaced policy, and
    /// `namespace_selector` that of the stack.
    pub fn of_policy(
        namespace: Option<String>,
        namespace_selector: Option<LabelSelector>,
        selected: WorkloadScope,
    ) -> Self {
        let WorkloadScope { pod_selector, container_selector, include_host, without_pods } = selected;
        // A policy without a selector is about the whole node, unless the stack or the policy is about some namespaces.
        let selects_everything = pod_selector.is_none() && container_selector.is_none() && !without_pods;
        let is_about_namespaces = namespace.is_some() || namespace_selector.is_some();
        Self {
            include_host: include_host && !(selects_everything && is_about_namespaces),
            namespace,
            namespace_selector,
            pod_selector,
            container_selector,
            without_pods,
            workload: None,
        }
    }

    /// Whether a pod is in this scope, whatever its containers are.
    pub fn matches(
        &self,
        namespace: &str,
        namespace_labels: &Labels,
        pod_labels: &Labels,
    ) -> Result<bool, SelectorError> {
        let workload = self.workload.as_ref();
        let mut all = !self.without_pods && workload.is_none_or(|workload| !workload.without_pods);
        all &= self.namespace.as_ref().is_none_or(|required| required == namespace);
        if let Some(selector) = &self.namespace_selector {
            all &= selector::matches(selector, namespace_labels)?;
        }
        for selector in self.pod_selectors() {
            all &= selector::matches_pod(selector, namespace, pod_labels)?;
        }
        Ok(all)
    }

    /// Every selector of pods, all of which must match.
    pub fn pod_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        self.pod_selector.iter().chain(self.workload.iter().filter_map(|workload| workload.pod_selector.as_ref()))
    }

    /// Every selector of containers, all of which must match.
    pub fn container_selectors(&self) -> impl Iterator<Item = &LabelSelector> {
        let of_workload = self.workload.iter().filter_map(|workload| workload.container_selector.as_ref());
        self.container_selector.iter().chain(of_workload)
    }

    /// Whether processes outside any pod are in this scope.
    pub fn includes_host(&self) -> bool {
        self.include_host && self.workload.as_ref().is_none_or(|workload| workload.include_host)
    }

    /// Whether no pod at all is in this scope.
    pub fn excludes_pods(&self) -> bool {
        self.without_pods || self.workload.as_ref().is_some_and(|workload| workload.without_pods)
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
