//! Hubble's metrics: their names, options and contexts, as users write them and as agents get them. Pure.

mod config;
mod metric;
mod parse;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

pub use config::{ContextOption, MetricConfig};
pub use metric::{ContextIdentifier, ContextLabel, Contexts, HubbleMetric, MetricName, MetricOption};
pub use parse::{MetricFault, ParsedMetrics, parse_metrics};

/// Most metrics of a stack.
pub const MAX_METRICS: u64 = 32;
/// Most series of one metric.
pub const MAX_SERIES: u32 = 100_000;
/// TCP port of Hubble's metrics.
pub const DEFAULT_PORT: i32 = 9965;
/// Most series of one metric where the stack sets no other number.
pub const DEFAULT_MAX_SERIES: i32 = 2000;

/// The metrics of a stack that lists none, in Hubble's words.
pub const DEFAULT_METRICS: [&str; 9] = [
    "dns:query;sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,destination_namespace",
    "drop:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,destination_namespace",
    "flow:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,destination_namespace",
    "flows-to-world:any-drop;port;labelsContext=source_namespace,source_workload",
    "httpV2:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,source_workload,destination_namespace,destination_workload,traffic_direction",
    "icmp:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,destination_namespace",
    "policy:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,destination_namespace",
    "port-distribution",
    "tcp:sourceContext=workload-name|reserved-identity;destinationContext=workload-name|reserved-identity;\
     labelsContext=source_namespace,destination_namespace",
];

/// The metrics of flows that each node serves.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowMetrics {
    /// TCP port on each node.
    #[validate(range(min = 1))]
    pub port: u16,
    /// Most series of one metric; label sets beyond it are counted together.
    #[validate(range(min = 1, max = MAX_SERIES))]
    pub max_series: u32,
    /// Hubble's metrics.
    #[validate(length(max = MAX_METRICS), nested)]
    pub metrics: Vec<HubbleMetric>,
}
