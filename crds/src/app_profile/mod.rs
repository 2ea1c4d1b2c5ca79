//! `AppProfile`: what the programs of some pods do, for a limited time: where they spend their CPU time, and which requests
//! they send and answer.

mod cpu;
mod requests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use validator::Validate;

pub use cpu::CpuSpec;
pub use requests::{Literals, PayloadSpec, RedactSpec, RequestProtocol, RequestRole, RequestsSpec, TlsCapture};

use crate::{selector, status::AppProfileStatus};

/// Smallest budget in bytes: the ring, the worker and a useful result need this much.
pub const MIN_PROFILE_BUDGET: i64 = 8 << 20;
/// Largest budget in bytes.
pub const MAX_PROFILE_BUDGET: i64 = 1 << 30;
/// Budget in bytes of an AppProfile that names none.
pub const DEFAULT_PROFILE_BUDGET: i64 = 32 << 20;
/// Longest duration in seconds: a day.
pub const MAX_PROFILE_SECONDS: i64 = 86_400;
/// Duration in seconds of an AppProfile that names none.
pub const DEFAULT_PROFILE_SECONDS: i64 = 300;
/// Age in minutes up to which rows of requests are kept where the AppProfile names none.
pub const DEFAULT_RETAIN_MINUTES: i32 = 60;
/// How long rows of requests are kept after the end where the AppProfile names no time, in minutes.
pub const DEFAULT_RETAIN_AFTER_END_MINUTES: i32 = 10;

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
    doc = "CPU time and requests of some pods of one namespace, for a limited time and within a memory budget"
)]
#[x_kube(
    validation = Rule::new("has(self.cpu) || has(self.requests)").message("must ask for something: set cpu, as 'cpu: {}', or requests, as 'requests: {}'"),
    validation = Rule::new("self == oldSelf").message("an AppProfile cannot change once made; delete it and make another")
)]
#[serde(rename_all = "camelCase")]
pub struct AppProfileSpec {
    /// Selects the pods by their labels, e.g. `matchLabels: {app: checkout}`; `{}` selects every pod of the namespace.
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: LabelSelector,
    /// Samples the stacks of threads that run on a CPU, e.g. `cpu: {}` for the defaults. Unset samples nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub cpu: Option<CpuSpec>,
    /// Captures and decodes the requests that the pods send and answer, e.g. `requests: {protocols: [pgsql]}`; `{}` for the
    /// defaults. Unset captures nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub requests: Option<RequestsSpec>,
    /// How long to profile, in seconds from the moment the operator accepts the object, e.g. 120 for two minutes.
    #[serde(default = "default_seconds")]
    #[validate(range(min = 1, max = MAX_PROFILE_SECONDS))]
    pub duration_seconds: i64,
    /// Memory on each node for rings, worker and results together, in bytes, e.g. 67108864 for 64 MiB. The least is 8 MiB. An
    /// AppProfile with both `cpu` and `requests` divides it.
    #[serde(default = "default_budget")]
    #[validate(range(min = MIN_PROFILE_BUDGET, max = MAX_PROFILE_BUDGET))]
    pub memory_budget_bytes: i64,
    /// How old rows of requests get while the profile is active, in minutes, e.g. 15. The oldest leave earlier when the budget
    /// is used up; `status.requests.oldestRow` says how far back they reach.
    #[serde(default = "default_retain")]
    #[validate(range(min = 1, max = 1440))]
    pub retain_minutes: i32,
    /// How long rows of requests can be read after the end, in minutes, e.g. 30; 0 drops them at the end. Deleting the object
    /// drops them at once, by `ttlSecondsAfterFinished` too.
    #[serde(default = "default_retain_after_end")]
    #[validate(range(min = 0, max = 60))]
    pub retain_after_end_minutes: i32,
    /// Deletes the object this many seconds after it has completed, as the field of a Job does, e.g. 3600; 0 deletes it at
    /// once. Unset keeps it. Nothing is deleted that came from a file of `trilobite-node run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
}

/// A spec that asks for nothing, to set fields of.
impl Default for AppProfileSpec {
    fn default() -> Self {
        Self {
            pod_selector: LabelSelector::default(),
            cpu: None,
            requests: None,
            duration_seconds: default_seconds(),
            memory_budget_bytes: default_budget(),
            retain_minutes: default_retain(),
            retain_after_end_minutes: default_retain_after_end(),
            ttl_seconds_after_finished: None,
        }
    }
}

fn default_seconds() -> i64 {
    DEFAULT_PROFILE_SECONDS
}

fn default_budget() -> i64 {
    DEFAULT_PROFILE_BUDGET
}

fn default_retain() -> i32 {
    DEFAULT_RETAIN_MINUTES
}

fn default_retain_after_end() -> i32 {
    DEFAULT_RETAIN_AFTER_END_MINUTES
}
