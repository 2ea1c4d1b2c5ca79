//! `spec.relay`: the Deployment that serves `read.trilobite.dev`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::runtime::{MAX_NODE_LABELS, Resources, Toleration, check_labels};

/// Requests of the relay for resources of which the stack sets neither request nor limit.
pub const DEFAULT_RELAY_REQUESTS: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "24Mi")];

/// The relay, through which users read events, flows, requests and profiles with their own Kubernetes rights.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelaySpec {
    /// When the relay runs, and with it the API group `read.trilobite.dev` and the agents' TLS ports.
    #[serde(default)]
    pub mode: RelayMode,
    /// Number of replicas, e.g. 2 so that one can be updated while the other serves.
    #[serde(default = "one")]
    #[validate(range(min = 1, max = 10))]
    pub replicas: i32,
    /// Requests and limits of the relay's container. Unset means that it requests 10m of cpu and 24Mi of memory; each of the
    /// two is replaced by a request or a limit for the same resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub resources: Option<Resources>,
    /// Runs the relay only on nodes with these labels, e.g. `kubernetes.io/arch: amd64`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_NODE_LABELS))]
    #[validate(length(max = MAX_NODE_LABELS), custom(function = check_labels))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the relay's pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16), nested)]
    pub tolerations: Vec<Toleration>,
    /// Whether an unmodified hubble-relay may read the agents, as long as a relay is wanted.
    #[serde(default)]
    pub hubble_relay: HubbleRelayMode,
}

/// What an unmodified hubble-relay is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HubbleRelayMode {
    /// Nothing. A certificate of before is good for a day.
    #[default]
    Disabled,
    /// Its client certificate in the Secret `hubble-relay-client-certs`, renewed by itself, and the Service `hubble-peer`. Who can
    /// read that Secret can read all flows.
    Enabled,
}

/// When the relay runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RelayMode {
    /// While a layer is Enabled, a session runs, or the result of an AppProfile can be fetched.
    #[default]
    OnDemand,
    /// Always, unless the stack is suspended.
    Enabled,
    /// Never: events, flows, requests and profiles are read by administrators alone, who may use pods/exec.
    Disabled,
}

fn one() -> i32 {
    1
}

impl Default for RelaySpec {
    fn default() -> Self {
        Self {
            mode: RelayMode::default(),
            replicas: one(),
            resources: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            hubble_relay: HubbleRelayMode::default(),
        }
    }
}
