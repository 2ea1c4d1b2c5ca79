//! `spec.network.metrics`: Hubble's metrics, as the stack asks for them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::hubble_metrics::{
    DEFAULT_MAX_SERIES, DEFAULT_PORT, FlowMetrics, MAX_METRICS, MAX_SERIES, MetricConfig, ParsedMetrics, parse_metrics,
};

const MAX_WORD: u64 = 1024;

/// Hubble's metrics of flows, on a port of their own.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkMetricsSpec {
    /// Whether each agent counts flows and serves the metrics.
    #[serde(default)]
    pub mode: NetworkMetricsMode,
    /// TCP port on each node. On a node that runs Cilium, Hubble has 9965.
    #[serde(default = "default_port")]
    #[validate(range(min = 1, max = 65535))]
    pub port: i32,
    /// The metrics in Hubble's words, e.g. `flow:sourceContext=workload-name|reserved-identity`. With neither this nor
    /// `metricConfigs`, they are those of docs/hubble-metrics.md. A metric that is not valid is refused by name; the others are
    /// counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = MAX_WORD)))]
    #[validate(length(max = MAX_METRICS))]
    pub metrics: Vec<String>,
    /// Metrics in the form of Hubble's dynamic configuration, in addition to `metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_METRICS), nested)]
    pub metric_configs: Vec<MetricConfig>,
    /// Most series of one metric on each node. The busiest label sets have one each; the rest is counted in `other`.
    #[serde(default = "default_max_series")]
    #[validate(range(min = 100, max = MAX_SERIES.cast_signed()))]
    pub max_series: i32,
}

/// Whether flows are counted for Hubble's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NetworkMetricsMode {
    /// No port, no series.
    #[default]
    Disabled,
    /// Flows of all pods in the layer's scope are watched and counted, also where `spec.network.mode` is OnDemand.
    Enabled,
}

impl NetworkMetricsSpec {
    /// Whether agents count flows.
    pub fn is_enabled(&self) -> bool {
        self.mode == NetworkMetricsMode::Enabled
    }

    /// The metrics that can be counted, and what is wrong with the others.
    pub fn parse(&self) -> ParsedMetrics {
        parse_metrics(&self.metrics, &self.metric_configs)
    }

    /// What agents get while the metrics are enabled. Numbers outside the schema's bounds are clamped.
    pub fn settings(&self) -> FlowMetrics {
        let default = DEFAULT_PORT.cast_unsigned() as u16;
        FlowMetrics {
            port: u16::try_from(self.port).ok().filter(|port| *port != 0).unwrap_or(default),
            max_series: self.max_series.clamp(100, MAX_SERIES.cast_signed()).unsigned_abs(),
            metrics: self.parse().metrics,
        }
    }
}

impl Default for NetworkMetricsSpec {
    fn default() -> Self {
        Self {
            mode: NetworkMetricsMode::default(),
            port: DEFAULT_PORT,
            metrics: Vec::new(),
            metric_configs: Vec::new(),
            max_series: DEFAULT_MAX_SERIES,
        }
    }
}

fn default_port() -> i32 {
    DEFAULT_PORT
}

fn default_max_series() -> i32 {
    DEFAULT_MAX_SERIES
}
