//! `FlowCapture`: the flows of some pods, for a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::FlowCaptureStatus;

/// Which flows, for how long, and where they are written. It cannot change once made: its end is fixed at its start.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "FlowCapture",
    plural = "flowcaptures",
    shortname = "tbfc",
    category = "trilobite",
    namespaced,
    status = "FlowCaptureStatus",
    derive = "PartialEq",
    doc = "The TCP and UDP flows of some pods of one namespace, for a time"
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a FlowCapture cannot change once made; delete it and make another")
)]
#[serde(rename_all = "camelCase")]
pub struct FlowCaptureSpec {
    /// The pods, by their labels; `{}` means every pod of the namespace.
    pub pod_selector: LabelSelector,
    /// Only flows with one of these ports on either end; unset means every port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<i32>,
    /// Only these protocols; unset means both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub protocols: Vec<Protocol>,
    /// How long, from the time that the operator accepts it.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 86400))]
    pub duration_seconds: i64,
    /// Where flows are written besides the agent's socket.
    #[serde(default)]
    pub output: CaptureOutput,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// Where flows are written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureOutput {
    /// JSON lines on the agent's standard output.
    #[serde(default)]
    pub stdout: bool,
    /// JSON lines in a rotated file on each node.
    #[serde(default)]
    pub file: bool,
}

impl Protocol {
    /// `TCP` or `UDP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

fn five_minutes() -> i64 {
    300
}
