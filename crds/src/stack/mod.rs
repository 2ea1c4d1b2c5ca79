//! `ObservabilityStack`: the one resource that turns the layers on and says how the agents run.

mod application;
mod event_selection;
mod export;
mod layers;
mod network;
mod network_metrics;
mod relay;
mod runtime;
mod tenancy;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use validator::Validate;

pub use application::{ApplicationSpec, DEFAULT_NODE_BUDGET};
pub use event_selection::{
    CapabilitiesFilter, CapabilitySetFilter, EventFieldFilter, EventFilter, EventName, EventSelection, FieldAction,
    RedactionFilter,
};
pub use export::{ExportSpec, FileExportSpec, MetricsSpec, StdoutExportSpec};
pub use layers::{Layer, LayerMode, LayerSpec, LayerView};
pub use network::{DnsMode, NetworkSpec};
pub use network_metrics::{NetworkMetricsMode, NetworkMetricsSpec};
pub use relay::{DEFAULT_RELAY_REQUESTS, HubbleRelayMode, RelayMode, RelaySpec};
pub use runtime::{
    DEFAULT_REQUESTS, ImagePullPolicy, Resources, RuntimeSpec, Toleration, TolerationOperator, UpdateStrategy,
};
pub use tenancy::{NamespaceBudget, TenancySpec};

use crate::status::ObservabilityStackStatus;

/// What the cluster's agents do, and how they run. There is one, named `default`.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "ObservabilityStack",
    plural = "observabilitystacks",
    shortname = "obs",
    category = "trilobite",
    status = "ObservabilityStackStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Turns the security, network and application layers on, and says how the agent runs on each node",
    validation = Rule::new("self.metadata.name == 'default'").message("there is one ObservabilityStack in a cluster, and its name must be 'default'")
)]
#[serde(rename_all = "camelCase")]
pub struct ObservabilityStackSpec {
    /// How the agent runs on each node.
    #[serde(default)]
    #[validate(nested)]
    pub runtime: RuntimeSpec,
    /// The security layer: processes and tracing policies.
    #[serde(default)]
    #[schemars(transform = layers::security_schema)]
    #[validate(nested)]
    pub security: LayerSpec,
    /// The network layer: flows between pods.
    #[serde(default)]
    #[schemars(transform = layers::network_schema)]
    #[validate(nested)]
    pub network: NetworkSpec,
    /// The application layer: profiles and requests of programs.
    #[serde(default)]
    #[schemars(transform = layers::application_schema)]
    #[validate(nested)]
    pub application: ApplicationSpec,
    /// Where events are written in addition to the agent's socket, which always serves them.
    #[serde(default)]
    #[validate(nested)]
    pub export: ExportSpec,
    /// The metrics endpoint of each agent.
    #[serde(default)]
    #[validate(nested)]
    pub metrics: MetricsSpec,
    /// What namespaces may use.
    #[serde(default)]
    #[validate(nested)]
    pub tenancy: TenancySpec,
    /// The relay, through which users read events, flows, requests and profiles with their own rights.
    #[serde(default)]
    #[validate(nested)]
    pub relay: RelaySpec,
    /// Unloads everything from every node; the agents keep running.
    #[serde(default)]
    pub suspend: bool,
}

impl ObservabilityStackSpec {
    /// One layer of this stack.
    pub fn layer(&self, layer: Layer) -> LayerView<'_> {
        let spec = match layer {
            Layer::Security => &self.security,
            Layer::Network => &self.network.layer,
            Layer::Application => &self.application.layer,
        };
        spec.view(layer)
    }
}
