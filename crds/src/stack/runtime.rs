//! How the agent's DaemonSet runs. Small structs of our own, so that no PodSpec is embedded in the CRD.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1 as core,
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The agent on each node.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeSpec {
    /// Image of the agent; unset means the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When the kubelet pulls it; unset means what Kubernetes makes of the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Requests and limits of the agent's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Only nodes with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the agent's pods stand; unset means that they stand all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub tolerations: Option<Vec<Toleration>>,
    /// How a new version of the agent is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
    /// Give the agent CAP_SYS_ADMIN, for kernels that ask it for what CAP_BPF and CAP_PERFMON do elsewhere.
    #[serde(default)]
    pub allow_sys_admin: bool,
    /// Give the agent CAP_SYS_RESOURCE, for kernels before 5.11, where maps count against RLIMIT_MEMLOCK.
    #[serde(default)]
    pub allow_sys_resource: bool,
}

/// When the kubelet pulls the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At each start.
    Always,
    /// Only where it is missing.
    IfNotPresent,
    /// Never; it must be there.
    Never,
}

impl ImagePullPolicy {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Quantities as strings, kept as they were typed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside, as `memory: 32Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = quantity()))]
    pub requests: BTreeMap<String, String>,
    /// What may not be passed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8, "additionalProperties" = quantity()))]
    pub limits: BTreeMap<String, String>,
}

/// A quantity as Kubernetes reads it, and never a negative one: `250m`, `32Mi`, `1.5Gi`, `2e6`.
fn quantity() -> serde_json::Value {
    serde_json::json!({
        "type": "string",
        "maxLength": 32,
        "pattern": r"^[0-9]+(\.[0-9]+)?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$",
    })
}

impl From<&Resources> for core::ResourceRequirements {
    fn from(resources: &Resources) -> Self {
        let quantities = |map: &BTreeMap<String, String>| {
            (!map.is_empty()).then(|| map.iter().map(|(name, text)| (name.clone(), Quantity(text.clone()))).collect())
        };
        Self { requests: quantities(&resources.requests), limits: quantities(&resources.limits), ..Self::default() }
    }
}

/// A taint that the agent's pods stand.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!(has(self.operator) && self.operator == 'Exists' && has(self.value) && self.value != '')")
        .message("a toleration with operator Exists must have no value"),
    validation = Rule::new("(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')")
        .message("a toleration without a key must have operator Exists")
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint; unset with `Exists` means every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// How `value` is compared; unset means `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; unset means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^(NoSchedule|PreferNoSchedule|NoExecute)$"))]
    pub effect: Option<String>,
}

/// How a toleration's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Any value.
    Exists,
    /// This value.
    Equal,
}

impl From<&Toleration> for core::Toleration {
    fn from(toleration: &Toleration) -> Self {
        Self {
            key: toleration.key.clone(),
            operator: toleration.operator.map(|operator| format!("{operator:?}")),
            value: toleration.value.clone(),
            effect: toleration.effect.clone(),
            toleration_seconds: None,
        }
    }
}

/// How a new version of the agent is rolled out.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// How many agents may be away at once: a number of at least 1, or a share from `1%` to `100%`.
    #[serde(default = "ten_percent")]
    #[schemars(extend("maxLength" = 8, "pattern" = "^([1-9][0-9]?|100)%$", "minimum" = 1, "maximum" = 100_000))]
    pub max_unavailable: IntOrString,
}

fn ten_percent() -> IntOrString {
    IntOrString::String("10%".into())
}

impl Default for UpdateStrategy {
    fn default() -> Self {
        Self { max_unavailable: ten_percent() }
    }
}
