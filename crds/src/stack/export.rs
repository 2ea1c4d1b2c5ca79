//! Where events are written in addition to the agent's socket, and the agent's metrics.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::event_selection::EventSelection;
use crate::node::desired::{ExportPlan, FileExport};

/// Where events are written.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportSpec {
    /// JSON lines on the standard output of a container of its own, `export-stdout`, in each agent's pod.
    #[serde(default)]
    #[validate(nested)]
    pub stdout: StdoutExportSpec,
    /// JSON lines in a rotated file on each node.
    #[serde(default)]
    #[validate(nested)]
    pub file: FileExportSpec,
}

/// Standard output.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StdoutExportSpec {
    /// Whether events are written to standard output. The container is there only if so; a change restarts the agents.
    #[serde(default)]
    pub enabled: bool,
    /// Which events, and what of each.
    #[serde(flatten)]
    #[validate(nested)]
    pub events: EventSelection,
}

/// A rotated file.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileExportSpec {
    /// Whether events are written to the file.
    #[serde(default)]
    pub enabled: bool,
    /// Size in MiB at which the file is closed and a new one begins, e.g. 100.
    #[serde(default = "ten")]
    #[validate(range(min = 1, max = 1024))]
    pub max_size_mb: i32,
    /// Number of closed files that are kept.
    #[serde(default = "five")]
    #[validate(range(min = 0, max = 100))]
    pub max_backups: i32,
    /// Which events, and what of each.
    #[serde(flatten)]
    #[validate(nested)]
    pub events: EventSelection,
}

/// The metrics endpoint of each agent.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsSpec {
    /// Whether each agent serves metrics for Prometheus.
    #[serde(default)]
    pub enabled: bool,
    /// TCP port of the endpoint on each node.
    #[serde(default = "metrics_port")]
    #[validate(range(min = 1, max = 65535))]
    pub port: i32,
}

impl ExportSpec {
    /// The agent's settings. Numbers outside the schema's bounds are clamped.
    pub fn plan(&self) -> ExportPlan {
        ExportPlan {
            stdout: self.stdout.enabled,
            stdout_events: if self.stdout.enabled { self.stdout.events.clone() } else { EventSelection::default() },
            file_events: if self.file.enabled { self.file.events.clone() } else { EventSelection::default() },
            file: self.file.enabled.then(|| FileExport {
                max_size_mb: self.file.max_size_mb.clamp(1, 1024).unsigned_abs(),
                max_backups: self.file.max_backups.clamp(0, 100).unsigned_abs(),
            }),
        }
    }
}

fn ten() -> i32 {
    10
}

fn five() -> i32 {
    5
}

fn metrics_port() -> i32 {
    2112
}

impl Default for FileExportSpec {
    fn default() -> Self {
        Self { enabled: false, max_size_mb: ten(), max_backups: five(), events: EventSelection::default() }
    }
}

impl Default for MetricsSpec {
    fn default() -> Self {
        Self { enabled: false, port: metrics_port() }
    }
}
