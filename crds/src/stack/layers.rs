//! The three layers of a stack: one spec, whose default mode and bounds depend on the layer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use validator::Validate;

use crate::{app_profile::MIN_PROFILE_BUDGET, selector};

/// Largest budget of a layer, in bytes.
const MAX_LAYER_BUDGET: i64 = 1 << 30;

/// When a layer runs, and so when it costs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LayerMode {
    /// Always on, for every pod in the layer's scope.
    Enabled,
    /// On only while a resource asks for it.
    OnDemand,
    /// Off; resources that need it are refused with `LayerDisabled`.
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

/// What all layers have. A field of one layer alone belongs to a struct of its own that contains this one.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerSpec {
    /// When the layer runs; the default depends on the layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LayerMode")]
    pub mode: Option<LayerMode>,
    /// Limits the layer to pods of the namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = selector::check_bounds))]
    pub namespace_selector: Option<LabelSelector>,
    /// Memory on each node, in bytes; what it is for and its default depend on the layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 1, max = MAX_LAYER_BUDGET))]
    pub memory_budget_bytes: Option<i64>,
}

/// One layer of a stack with its default mode resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerView<'a> {
    /// When the layer runs.
    pub mode: LayerMode,
    /// Namespaces in scope; unset means all.
    pub namespace_selector: Option<&'a LabelSelector>,
    /// Memory in bytes on each node.
    pub memory_budget_bytes: Option<i64>,
}

impl LayerSpec {
    /// The settings that hold for this spec as the spec of `layer`.
    pub(super) fn view(&self, layer: Layer) -> LayerView<'_> {
        LayerView {
            mode: self.mode.unwrap_or(layer.default_mode()),
            namespace_selector: self.namespace_selector.as_ref(),
            memory_budget_bytes: self.memory_budget_bytes,
        }
    }
}

impl Layer {
    /// The field of the stack's spec, as messages name it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Security => "spec.security",
            Self::Network => "spec.network",
            Self::Application => "spec.application",
        }
    }

    fn default_mode(self) -> LayerMode {
        match self {
            Self::Security => LayerMode::Enabled,
            Self::Network | Self::Application => LayerMode::OnDemand,
        }
    }

    /// Adds to the schema of `LayerSpec` the default, bounds and descriptions of this layer.
    fn refine(self, schema: &mut Schema, mode: &str, namespaces: &str, budget: &str) {
        schema.insert("default".into(), json!({ "mode": self.default_mode() }));
        let Some(fields) = schema.get_mut("properties") else { return };
        fields["mode"]["default"] = json!(self.default_mode());
        for (field, text) in [("mode", mode), ("namespaceSelector", namespaces), ("memoryBudgetBytes", budget)] {
            fields[field]["description"] = Value::from(text);
        }
        if self == Self::Application {
            fields["memoryBudgetBytes"]["minimum"] = MIN_PROFILE_BUDGET.into();
        }
    }
}

/// The schema of `spec.security`.
pub(super) fn security_schema(schema: &mut Schema) {
    Layer::Security.refine(
        schema,
        "Enabled reports every process of the pods in scope; OnDemand does so only while a tracing policy exists; \
         Disabled refuses tracing policies.",
        "Limits the layer to pods of the namespaces with these labels, e.g. `matchLabels: {team: shop}`. Unset means every \
         pod, and the processes of the nodes themselves.",
        "Memory on each node for ring buffers, in bytes: half for process events, half for policy events, e.g. 1048576 \
         for 1 MiB. The least that works is 8192; unset means 524288.",
    );
}

/// The schema of `spec.network`.
pub(super) fn network_schema(schema: &mut Schema) {
    Layer::Network.refine(
        schema,
        "Enabled follows the flows of every pod in scope; OnDemand only those that a FlowCapture selects; Disabled \
         refuses FlowCaptures.",
        "Limits the layer to pods of the namespaces with these labels, e.g. `matchLabels: {team: shop}`. Unset means every \
         pod.",
        "Memory on each node for the flow map and its ring buffer, in bytes, e.g. 8912896 for 32768 flows. The least that \
         works is 69632; unset means 4456448, for 16384 flows.",
    );
}

/// The schema of `spec.application`.
pub(super) fn application_schema(schema: &mut Schema) {
    Layer::Application.refine(
        schema,
        "OnDemand runs AppProfiles; Disabled refuses them. Enabled runs them too, and a standing profile without an end: the \
         `requests` of every pod of the namespaces that `namespaceSelector` selects; both must be set.",
        "Allows profiles only of pods in namespaces with these labels, e.g. `matchLabels: {team: shop}`. Unset allows \
         every pod.",
        "The most that one AppProfile may ask for, in bytes, e.g. 67108864 for 64 MiB, and what the standing profile gets. The \
         least is 8 MiB, which one profile needs. Unset means the limit of AppProfile itself, and 32 MiB for the standing profile.",
    );
}
