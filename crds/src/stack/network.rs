//! `spec.network`: the fields of every layer, and where agents listen for the relay.

use std::{borrow::Cow, net::SocketAddr};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError, ValidationErrors};

use super::{layers::LayerSpec, network_metrics::NetworkMetricsSpec};
use crate::read_api::AGENT_PORT;

const MAX_ADDRESS: usize = 64;
const PORT: &str = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// The network layer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// What every layer has.
    #[serde(flatten)]
    pub layer: LayerSpec,
    /// Where each agent listens for the relay, with TLS, while a relay is wanted: `host:port`, e.g. `:14244` if another program
    /// has the port. Unset means `:4244`, on every address of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("maxLength" = MAX_ADDRESS, "pattern" = listen_pattern()))]
    pub listen: Option<String>,
    /// Whether agents read DNS on the interfaces whose flows are captured.
    #[serde(default)]
    pub dns: DnsMode,
    /// Hubble's metrics of flows.
    #[serde(default)]
    pub metrics: NetworkMetricsSpec,
}

/// Whether DNS is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DnsMode {
    /// While flows are captured: each query and answer is a flow, and addresses in flows have the names that their pod looked up.
    #[default]
    Auto,
    /// No packet is copied.
    Disabled,
}

impl DnsMode {
    /// The default.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

fn listen_pattern() -> String {
    format!(r"^(([0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}|\[[0-9a-fA-F:.]{{2,45}}\])?:{PORT}$")
}

/// By hand, so that the fields of `layer` are named as in the object.
impl Validate for NetworkSpec {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let mut errors = self.layer.validate().err().unwrap_or_default();
        if let Some(listen) = self.listen.as_ref().filter(|listen| parse(listen).is_none()) {
            let mut error = ValidationError::new("listen");
            error.message = Some("must be host:port with an IP address or no host, e.g. :4244".into());
            error.add_param(Cow::from("value"), listen);
            errors.add("listen", error);
        }
        errors.merge_self("metrics", self.metrics.validate());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

impl NetworkSpec {
    /// Where agents listen for the relay. What cannot be parsed is refused elsewhere; agents keep the default port.
    pub fn listen_address(&self) -> SocketAddr {
        let default = SocketAddr::from(([0; 8], AGENT_PORT));
        self.listen.as_deref().and_then(parse).unwrap_or(default)
    }
}

/// An address without a host is every address of the node.
fn parse(listen: &str) -> Option<SocketAddr> {
    let with_host = if listen.starts_with(':') { Cow::from(format!("[::]{listen}")) } else { Cow::from(listen) };
    with_host.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::bounds;

    fn network(listen: &str) -> NetworkSpec {
        NetworkSpec { listen: Some(listen.into()), ..NetworkSpec::default() }
    }

    #[test]
    fn address_without_host_is_every_address() {
        for (listen, address) in
            [(":14244", "[::]:14244"), ("0.0.0.0:4244", "0.0.0.0:4244"), ("[fd00::7]:65535", "[fd00::7]:65535")]
        {
            assert_eq!(network(listen).listen_address().to_string(), address);
            assert_eq!(bounds::violations(&network(listen), "spec.network"), []);
        }
        assert_eq!(NetworkSpec::default().listen_address().to_string(), "[::]:4244");
    }

    #[test]
    fn what_is_no_address_is_refused_at_its_field() {
        for listen in [":0", ":65536", "4244", "node1:4244", "300.0.0.1:4244", "[fd00::7:4244", ":4244 "] {
            let found = bounds::violations(&network(listen), "spec.network");
            assert_eq!(found.len(), 1, "{listen:?}");
            assert_eq!(found[0].field, "spec.network.listen");
        }
    }

    #[test]
    fn schema_refuses_most_of_it_as_well() {
        let pattern = Regex::new(&listen_pattern()).unwrap();
        for (listen, accepted) in [
            (":4244", true),
            ("10.0.0.1:1", true),
            ("[::]:65535", true),
            (":0", false),
            (":65536", false),
            ("node1:4244", false),
            ("4244", false),
        ] {
            assert_eq!(pattern.is_match(listen), accepted, "{listen:?}");
        }
    }

    #[test]
    fn bounds_of_the_layer_are_named_as_in_the_object() {
        let mut network = network("nowhere");
        network.layer.memory_budget_bytes = Some(0);
        network.metrics.port = 0;
        let fields: Vec<_> =
            bounds::violations(&network, "spec.network").into_iter().map(|violation| violation.field).collect();
        let expected = ["spec.network.listen", "spec.network.memoryBudgetBytes", "spec.network.metrics.port"];
        assert_eq!(fields, expected);
    }
}
