//! How the agent's DaemonSet runs. Small structs of our own, so that no PodSpec is embedded in the CRD.

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::{
    api::core::v1 as core,
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kube::KubeSchema;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError};

use crate::bounds;

pub(super) const MAX_NODE_LABELS: u64 = 16;
const MAX_RESOURCES: u64 = 8;
const MAX_QUANTITY: usize = 32;
/// A quantity as Kubernetes reads it, and never a negative one: `250m`, `32Mi`, `1.5Gi`, `2e6`.
const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$";
const MAX_SHARE: usize = 8;
const SHARE: &str = "^([1-9][0-9]?|100)%$";
const MIN_UNAVAILABLE: i32 = 1;
const MAX_UNAVAILABLE: i32 = 100_000;

static QUANTITY_PATTERN: LazyLock<Regex> = LazyLock::new(|| bounds::pattern(QUANTITY));
static SHARE_PATTERN: LazyLock<Regex> = LazyLock::new(|| bounds::pattern(SHARE));
static TAINT_EFFECT: LazyLock<Regex> = LazyLock::new(|| bounds::pattern("^(NoSchedule|PreferNoSchedule|NoExecute)$"));

/// Requests of the agent for resources of which the stack sets neither request nor limit.
pub const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "32Mi")];

/// The agent on each node.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeSpec {
    /// Image of the agent, e.g. `ghcr.io/trilobite-dev/trilobite-node:0.1.0`. Unset means the one that the operator was
    /// installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When the kubelet pulls the image. Unset means Kubernetes' default for the image's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ImagePullPolicy")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Requests and limits of the agent's container. Unset means that it requests 50m of cpu and 32Mi of memory; each of the
    /// two is replaced by a request or a limit for the same resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub resources: Option<Resources>,
    /// Runs the agent only on nodes with these labels, e.g. `kubernetes.io/arch: amd64`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_NODE_LABELS))]
    #[validate(length(max = MAX_NODE_LABELS), custom(function = check_labels))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the agent's pods tolerate. Unset means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 16), nested)]
    pub tolerations: Option<Vec<Toleration>>,
    /// How a new version of the agent is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub update_strategy: Option<UpdateStrategy>,
    /// Gives the agent CAP_SYS_ADMIN, for kernels that require it where others accept CAP_BPF and CAP_PERFMON.
    #[serde(default)]
    pub allow_sys_admin: bool,
    /// Gives the agent CAP_SYS_RESOURCE, for kernels before 5.11, which count maps against RLIMIT_MEMLOCK.
    #[serde(default)]
    pub allow_sys_resource: bool,
}

/// When the kubelet pulls the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At each start of a pod.
    Always,
    /// Only where the node does not have it.
    IfNotPresent,
    /// Never; the node must have it.
    Never,
}

impl ImagePullPolicy {
    /// The name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Quantities as strings, kept as written.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler reserves, e.g. `cpu: 100m`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_RESOURCES, "additionalProperties" = quantity_schema()))]
    #[validate(length(max = MAX_RESOURCES), custom(function = check_quantities))]
    pub requests: BTreeMap<String, String>,
    /// The most that the container may use, e.g. `memory: 128Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_RESOURCES, "additionalProperties" = quantity_schema()))]
    #[validate(length(max = MAX_RESOURCES), custom(function = check_quantities))]
    pub limits: BTreeMap<String, String>,
}

fn quantity_schema() -> serde_json::Value {
    serde_json::json!({ "type": "string", "maxLength": MAX_QUANTITY, "pattern": QUANTITY })
}

fn check_quantities(quantities: &BTreeMap<String, String>) -> Result<(), ValidationError> {
    bounds::check_values(quantities, |quantity| {
        let malformed = || {
            let unreadable = !QUANTITY_PATTERN.is_match(quantity);
            unreadable.then(|| format!("{quantity:?} must be a quantity of Kubernetes, e.g. 250m or 128Mi"))
        };
        bounds::length_problem(quantity, 0, MAX_QUANTITY).or_else(malformed)
    })
}

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), ValidationError> {
    bounds::check_values(labels, |value| bounds::length_problem(value, 0, bounds::MAX_MAP_VALUE))
}

impl From<&Resources> for core::ResourceRequirements {
    fn from(resources: &Resources) -> Self {
        let quantities = |map: &BTreeMap<String, String>| {
            (!map.is_empty()).then(|| map.iter().map(|(name, text)| (name.clone(), Quantity(text.clone()))).collect())
        };
        Self { requests: quantities(&resources.requests), limits: quantities(&resources.limits), ..Self::default() }
    }
}

/// A taint that the agent's pods tolerate.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!(has(self.operator) && self.operator == 'Exists' && has(self.value) && self.value != '')")
        .message("a toleration with operator Exists must have no value"),
    validation = Rule::new("(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')")
        .message("a toleration without a key must have operator Exists")
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint, e.g. `dedicated`. Unset together with operator `Exists` means every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 317))]
    pub key: Option<String>,
    /// How `value` is compared. Unset means `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TolerationOperator")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint, e.g. `gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 63))]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`. Unset means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(
        length(max = 32),
        regex(path = *TAINT_EFFECT, message = "must be NoSchedule, PreferNoSchedule or NoExecute")
    )]
    pub effect: Option<String>,
}

/// How a toleration's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Any value matches.
    Exists,
    /// Only the same value matches.
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
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// How many agents may be unavailable at once: a number of at least 1, or a share from `1%` to `100%`, e.g. `25%`.
    #[serde(default = "ten_percent")]
    #[schemars(extend(
        "maxLength" = MAX_SHARE, "pattern" = SHARE, "minimum" = MIN_UNAVAILABLE, "maximum" = MAX_UNAVAILABLE
    ))]
    #[validate(custom(function = check_unavailable))]
    pub max_unavailable: IntOrString,
}

/// In the schema of an int-or-string a pattern is about strings, a bound about numbers.
fn check_unavailable(unavailable: &IntOrString) -> Result<(), ValidationError> {
    let problem = match unavailable {
        IntOrString::Int(number) if *number < MIN_UNAVAILABLE => {
            Some(format!("{number} must be at least {MIN_UNAVAILABLE}"))
        }
        IntOrString::Int(number) if *number > MAX_UNAVAILABLE => {
            Some(format!("{number} must be at most {MAX_UNAVAILABLE}"))
        }
        IntOrString::String(share) if !SHARE_PATTERN.is_match(share) => {
            Some(format!("{share:?} must be a share from 1% to 100%"))
        }
        _ => None,
    };
    bounds::fail_below(problem.map(|message| (String::new(), message)).into_iter().collect())
}

fn ten_percent() -> IntOrString {
    IntOrString::String("10%".into())
}

impl Default for UpdateStrategy {
    fn default() -> Self {
        Self { max_unavailable: ten_percent() }
    }
}
