//! The three layers of a stack. Each has a struct of its own because each has a default of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ObservabilityStackSpec;

/// When a layer costs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LayerMode {
    /// Always on, for every pod in the layer's scope.
    Enabled,
    /// On only while some resource asks for it.
    OnDemand,
    /// Off; what asks for it is refused with `LayerDisabled`.
    Disabled,
}

/// A layer by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Processes and tracing policies.
    Security,
    /// Flows.
    Network,
    /// Profiles.
    Application,
}

impl Layer {
    /// The field of the stack's spec, as it stands in messages.
    pub fn field(self) -> &'static str {
        match self {
            Self::Security => "spec.security",
            Self::Network => "spec.network",
            Self::Application => "spec.application",
        }
    }
}

/// The security layer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecuritySpec {
    /// Enabled shows every process of the pods in scope; OnDemand does so only while some tracing policy stands.
    #[serde(default = "enabled")]
    pub mode: LayerMode,
    /// Only pods of namespaces with these labels; unset means every pod, and the node's own processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Bytes for the rings of each node: half for processes, half for policies. At least 8192; unset means 524288.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub memory_budget_bytes: Option<i64>,
}

/// The network layer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// Enabled watches the flows of every pod in scope; OnDemand only those that a FlowCapture selects.
    #[serde(default = "on_demand")]
    pub mode: LayerMode,
    /// Only pods of namespaces with these labels; unset means every pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Bytes for the flow map and its ring on each node. At least 69632; unset means 4456448, for 16384 flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub memory_budget_bytes: Option<i64>,
}

/// The application layer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationSpec {
    /// OnDemand carries out AppProfiles. Enabled is not carried out yet and is answered with `Unsupported`.
    #[serde(default = "on_demand")]
    pub mode: LayerMode,
    /// Only pods of namespaces with these labels may be profiled; unset means every pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// The most that one AppProfile may ask for, in bytes; at least 8 MiB, the least that one needs. Unset means what its own
    /// schema allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8_388_608, max = 1_073_741_824))]
    pub memory_budget_bytes: Option<i64>,
}

/// What all layers have, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerView<'a> {
    /// When it costs something.
    pub mode: LayerMode,
    /// Namespaces in scope; unset means all.
    pub namespace_selector: Option<&'a LabelSelector>,
    /// Bytes on each node.
    pub memory_budget_bytes: Option<i64>,
}

impl ObservabilityStackSpec {
    /// One layer of this stack.
    pub fn layer(&self, layer: Layer) -> LayerView<'_> {
        let (mode, selector, budget) = match layer {
            Layer::Security => {
                (self.security.mode, &self.security.namespace_selector, self.security.memory_budget_bytes)
            }
            Layer::Network => (self.network.mode, &self.network.namespace_selector, self.network.memory_budget_bytes),
            Layer::Application => {
                (self.application.mode, &self.application.namespace_selector, self.application.memory_budget_bytes)
            }
        };
        LayerView { mode, namespace_selector: selector.as_ref(), memory_budget_bytes: budget }
    }
}

fn enabled() -> LayerMode {
    LayerMode::Enabled
}

fn on_demand() -> LayerMode {
    LayerMode::OnDemand
}

impl Default for SecuritySpec {
    fn default() -> Self {
        Self { mode: enabled(), namespace_selector: None, memory_budget_bytes: None }
    }
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self { mode: on_demand(), namespace_selector: None, memory_budget_bytes: None }
    }
}

impl Default for ApplicationSpec {
    fn default() -> Self {
        Self { mode: on_demand(), namespace_selector: None, memory_budget_bytes: None }
    }
}
