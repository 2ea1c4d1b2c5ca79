//! `FlowCapture`: the network flows of some pods, for a limited time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::{
    bounds::{MAX_PORT, MIN_PORT, check_ports},
    selector,
    status::FlowCaptureStatus,
};

/// Which flows are captured, for how long, and where they are written. It cannot change after creation: its end is set once.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    doc = "The TCP, UDP and ICMP flows of some pods of one namespace, for a limited time"
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a FlowCapture cannot change once made; delete it and make another")
)]
#[serde(rename_all = "camelCase")]
pub struct FlowCaptureSpec {
    /// Selects the pods by their labels, e.g. `matchLabels: {app: checkout}`; `{}` selects every pod of the namespace.
    #[validate(custom(function = selector::check_bounds))]
    pub pod_selector: LabelSelector,
    /// Captures only flows that use one of these ports on either end, e.g. `[443, 8080]`. Unset captures every port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = MIN_PORT, max = MAX_PORT)))]
    #[validate(length(max = 32), custom(function = check_ports))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<i32>,
    /// Captures only these protocols, e.g. `[TCP]`. Unset captures all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub protocols: Vec<Protocol>,
    /// How long to capture, in seconds from the moment the operator accepts the object, e.g. 600 for ten minutes.
    #[serde(default = "five_minutes")]
    #[validate(range(min = 1, max = 86400))]
    pub duration_seconds: i64,
    /// Where flows are written in addition to the agent's socket, which always serves them.
    #[serde(default)]
    pub output: CaptureOutput,
    /// Deletes the object this many seconds after it has completed, as the field of a Job does, e.g. 3600; 0 deletes it at
    /// once. Unset keeps it. Nothing is deleted that came from a file of `trilobite-node run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// ICMP and ICMPv6, which have no ports.
    #[serde(rename = "ICMP")]
    Icmp,
}

/// Where flows are written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureOutput {
    /// Writes flows as JSON lines to the agent's standard output, e.g. for a log collector.
    #[serde(default)]
    pub stdout: bool,
    /// Writes flows as JSON lines to a rotated file on each node.
    #[serde(default)]
    pub file: bool,
}

impl Protocol {
    /// `TCP`, `UDP` or `ICMP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
        }
    }
}

fn five_minutes() -> i64 {
    300
}
