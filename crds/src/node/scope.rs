//! Who a part or a session is about, and which resource of a user asked for it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds a user writes that can end up on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SourceKind {
    /// The stack itself: what runs because a layer is Enabled.
    ObservabilityStack,
    /// A cluster-wide tracing policy.
    TracingPolicy,
    /// A tracing policy for the pods of its own namespace.
    TracingPolicyNamespaced,
    /// Flows of some pods, for a time.
    FlowCapture,
    /// A CPU profile of some pods, for a time.
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

/// The resource that asked, at the generation that asked; what a node says about a part is mapped back by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Kind of the resource.
    pub kind: SourceKind,
    /// Its namespace; unset for a cluster-scoped kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(max = 253))]
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

/// Which pods are meant. Everything that is set must match; an empty scope means every pod of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodScope {
    /// Only pods of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Only pods of namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Only pods with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Processes outside any pod count as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_host: bool,
}
