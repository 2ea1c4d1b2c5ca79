//! `AppProfile`: where the programs of some pods spend their time, for a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::status::AppProfileStatus;

/// What is profiled, for how long, and with how much memory. It cannot change once made: its end is fixed at its start.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    doc = "A profile of some pods of one namespace, for a time and within a memory budget"
)]
#[x_kube(
    validation = Rule::new("has(self.cpu)").message("must ask for something: set cpu, as 'cpu: {}'"),
    validation = Rule::new("self == oldSelf").message("an AppProfile cannot change once made; delete it and make another")
)]
#[serde(rename_all = "camelCase")]
pub struct AppProfileSpec {
    /// The pods, by their labels; `{}` means every pod of the namespace.
    pub pod_selector: LabelSelector,
    /// Sampled stacks on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuSpec>,
    /// How long, from the time that the operator accepts it.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 3600))]
    pub duration_seconds: i64,
    /// What rings, symboliser and result may hold together on each node, in bytes; at least 8 MiB.
    #[serde(default = "thirty_two_mib")]
    #[schemars(range(min = 8_388_608, max = 1_073_741_824))]
    pub memory_budget_bytes: i64,
}

/// Sampled stacks on the CPU.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuSpec {
    /// Samples a second on each CPU. The default is odd so that it does not beat with timers.
    #[serde(default = "forty_nine")]
    #[schemars(range(min = 1, max = 999))]
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

fn thirty_two_mib() -> i64 {
    32 << 20
}
