//! `AppProfile`: where the programs of some pods spend their CPU time, for a limited time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::{selector, status::AppProfileStatus};

/// Smallest budget in bytes: the ring, the symboliser and a useful result need this much.
pub const MIN_PROFILE_BUDGET: i64 = 8 << 20;
/// Largest budget in bytes.
pub const MAX_PROFILE_BUDGET: i64 = 1 << 30;
/// Budget in bytes of an AppProfile that names none.
pub const DEFAULT_PROFILE_BUDGET: i64 = 32 << 20;

/// What is profiled, for how long, and with how much memory. It cannot change after creation: its end is set once.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "AppProfile",
    plural = "appprofiles",
    shortname = "tbap",
    category = "trilobite",
    namespaced,
    status = "AppProfileStatus",
    derive = "PartialEq",
    doc = "A CPU profile of some pods of one namespace, for a limited time and within a memory budget"
)]
#[x_kube(
    validation = Rule::new("has(self.cpu)").message("must ask for something: set cpu, as 'cpu: {}'"),
    validation = Rule::new("self == oldSelf").message("an AppProfile cannot change once made; delete it and make another")
)]
#[serde(rename_all = "camelCase")]
pub struct AppProfileSpec {
    /// Selects the pods by their labels, e.g. `matchLabels: {app: checkout}`; `{}` selects every pod of the namespace.
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: LabelSelector,
    /// Samples the stacks of threads that run on a CPU, e.g. `cpu: {}` for the defaults. Required: no other profile exists yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub cpu: Option<CpuSpec>,
    /// How long to profile, in seconds from the moment the operator accepts the object, e.g. 120 for two minutes.
    #[serde(default = "five_minutes")]
    #[validate(range(min = 1, max = 3600))]
    pub duration_seconds: i64,
    /// Memory on each node for ring, symboliser and result together, in bytes, e.g. 67108864 for 64 MiB. The least is 8 MiB.
    #[serde(default = "default_budget")]
    #[validate(range(min = MIN_PROFILE_BUDGET, max = MAX_PROFILE_BUDGET))]
    pub memory_budget_bytes: i64,
    /// Deletes the object this many seconds after it has completed, as the field of a Job does, e.g. 3600; 0 deletes it at
    /// once. Unset keeps it. Nothing is deleted that came from a file of `trilobite-node run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
}

/// Settings of a CPU profile.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuSpec {
    /// Samples per second on each CPU, e.g. 99. The default is odd, so that samples do not coincide with periodic timers.
    #[serde(default = "forty_nine")]
    #[validate(range(min = 1, max = 999))]
    pub frequency_hz: i32,
}

impl Default for CpuSpec {
    fn default() -> Self {
        Self { frequency_hz: forty_nine() }
    }
}

fn forty_nine() -> i32 {
    49
}

fn five_minutes() -> i64 {
    300
}

fn default_budget() -> i64 {
    DEFAULT_PROFILE_BUDGET
}
