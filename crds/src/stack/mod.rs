//! `ObservabilityStack`: the one resource that turns the layers on and says how the agents run.

mod export;
mod layers;
mod runtime;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use export::{ExportSpec, FileExportSpec, MetricsSpec, StdoutExportSpec};
pub use layers::{ApplicationSpec, Layer, LayerMode, LayerView, NetworkSpec, SecuritySpec};
pub use runtime::{ImagePullPolicy, Resources, RuntimeSpec, Toleration, TolerationOperator, UpdateStrategy};

use crate::status::ResourceStatus;

/// What the cluster's agents do, and how they run. There is one, named `default`.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "ObservabilityStack",
    plural = "observabilitystacks",
    shortname = "obs",
    category = "trilobite",
    status = "ResourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Turns the security, network and application layers on, and says how the agent runs on each node",
    validation = Rule::new("self.metadata.name == 'default'").message("there is one ObservabilityStack in a cluster, and its name must be 'default'")
)]
#[serde(rename_all = "camelCase")]
pub struct ObservabilityStackSpec {
    /// How the agent runs on each node.
    #[serde(default)]
    pub runtime: RuntimeSpec,
    /// Processes and tracing policies.
    #[serde(default)]
    pub security: SecuritySpec,
    /// Flows between pods.
    #[serde(default)]
    pub network: NetworkSpec,
    /// Profiles of programs.
    #[serde(default)]
    pub application: ApplicationSpec,
    /// Where events are written besides the agent's socket.
    #[serde(default)]
    pub export: ExportSpec,
    /// The metrics endpoint of each agent.
    #[serde(default)]
    pub metrics: MetricsSpec,
    /// Unload everything from every node; the agents stay.
    #[serde(default)]
    pub suspend: bool,
}
