//! What operator, agent and relay must agree on for the read API: names of objects, signers, and the names in certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// The API group that the relay serves.
pub const GROUP: &str = "read.trilobite.dev";
/// Its only version.
pub const VERSION: &str = "v1alpha1";
/// Name of the APIService.
pub const API_SERVICE: &str = "v1alpha1.read.trilobite.dev";

/// Name of the relay's Deployment, Service and ServiceAccount, and of the identity in its client certificate.
pub const RELAY: &str = "trilobite-relay";
/// Name of the agents' DaemonSet and ServiceAccount.
pub const AGENT: &str = "trilobite-node";
/// TCP port of the relay's pods for the aggregated API, over TLS: also `/readyz` and `/livez`, without authentication.
pub const RELAY_HTTPS_PORT: i32 = 8443;
/// TCP port of the relay's pods for `/metrics`, without TLS.
pub const RELAY_METRICS_PORT: i32 = 8080;
/// Name of the Service by which Hubble's clients find the relay, as they expect it; and of the identity in the client certificate of
/// an unmodified hubble-relay.
pub const HUBBLE_RELAY: &str = "hubble-relay";
/// Name of the Service by which an unmodified hubble-relay finds the agents, as it expects it.
pub const HUBBLE_PEER: &str = "hubble-peer";
/// Secret with the client certificate of an unmodified hubble-relay: `tls.crt`, `tls.key`, `ca.crt`.
pub const HUBBLE_RELAY_SECRET: &str = "hubble-relay-client-certs";
/// TCP port of the relay's pods for Hubble's clients, without TLS: bound to the pod's loopback, so that port-forwards alone reach
/// it.
pub const RELAY_HUBBLE_PORT: i32 = 4245;
/// TCP port of the relay's pods for Hubble's clients with a certificate or a token, over TLS.
pub const RELAY_HUBBLE_TLS_PORT: i32 = 4246;
/// TCP ports of the Service `HUBBLE_RELAY`: for port-forwards, and with TLS.
pub const HUBBLE_SERVICE_PORTS: (i32, i32) = (80, 443);
/// TCP port of the relay's Service, to which the API server connects.
pub const SERVICE_PORT: i32 = 443;
/// TCP port of an agent, unless the stack's `spec.network.listen` names another.
pub const AGENT_PORT: u16 = 4244;

/// Secret with the CA's key and certificate (`tls.key`, `tls.crt`), which the operator alone reads; and ConfigMap with the
/// bundle that agents and the relay trust.
pub const CA: &str = "trilobite-ca";
/// Key of the bundle in the ConfigMap `CA`: certificates in PEM.
pub const CA_BUNDLE_KEY: &str = "ca.crt";

/// Keys of `spec.extra` of a CertificateSigningRequest, which the API server fills from the token of a pod.
pub const EXTRA_POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// The UID of that pod.
pub const EXTRA_POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// The node of that pod.
pub const EXTRA_NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// `spec.expirationSeconds` of every request: a day. A certificate is renewed at two thirds of its life.
pub const CERTIFICATE_SECONDS: i32 = 24 * 60 * 60;

/// Who signs what. Keys are ECDSA P-256; the request is PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signer {
    /// An agent's port. Subject: CN `AGENT`. SAN: exactly the DNS names `node_names`.
    NodeServing,
    /// The relay before agents. Subject: CN `RELAY`. SAN: exactly the DNS name `RELAY`.
    RelayClient,
    /// The aggregated API, and Hubble's. Subject: CN `RELAY`. SAN: exactly `relay_service_names`.
    RelayServing,
}

impl Signer {
    /// All signers.
    pub const ALL: [Self; 3] = [Self::NodeServing, Self::RelayClient, Self::RelayServing];

    /// `spec.signerName` of a CertificateSigningRequest.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeServing => "trilobite.dev/node-serving",
            Self::RelayClient => "trilobite.dev/relay-client",
            Self::RelayServing => "trilobite.dev/relay-serving",
        }
    }

    /// The signer of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signer| signer.name() == name)
    }

    /// Name of the ServiceAccount that may ask, and of the workload (DaemonSet, Deployment) whose pods use it.
    pub fn account(self) -> &'static str {
        match self {
            Self::NodeServing => AGENT,
            Self::RelayClient | Self::RelayServing => RELAY,
        }
    }

    /// The common name of the certificate's subject, which has no other attribute.
    pub fn common_name(self) -> &'static str {
        self.account()
    }

    /// `spec.usages` of the request: exactly these, in any order.
    pub fn usages(self) -> [&'static str; 2] {
        match self {
            Self::NodeServing | Self::RelayServing => ["digital signature", "server auth"],
            Self::RelayClient => ["digital signature", "client auth"],
        }
    }

    /// The DNS names of the certificate: exactly these, in any order.
    pub fn dns_names(self, node: &str, namespace: &str) -> Vec<String> {
        match self {
            Self::NodeServing => node_names(node, namespace).into(),
            Self::RelayClient => vec![RELAY.into()],
            Self::RelayServing => relay_service_names(namespace).into(),
        }
    }
}

/// The DNS names of an agent's certificate: ours, and those that a relay of Hubble expects of the node and of any agent that
/// names the others.
pub fn node_names(node: &str, namespace: &str) -> [String; 3] {
    [node_name(node, namespace), hubble_node_name(node), hubble_node_name(HUBBLE_PEER)]
}

/// The name by which a relay of Hubble knows an agent.
pub fn hubble_node_name(node: &str) -> String {
    format!("{}.default.hubble-grpc.cilium.io", node.replace('.', "-"))
}

/// The name by which the relay knows an agent.
pub fn node_name(node: &str, namespace: &str) -> String {
    format!("{node}.{AGENT}.{namespace}.svc")
}

/// The name by which the API server knows the relay.
pub fn relay_service_name(namespace: &str) -> String {
    format!("{RELAY}.{namespace}.svc")
}

/// The DNS names of the relay's serving certificate: for the API server, for clients inside the cluster, and the ones that Hubble's
/// clients expect, e.g. `instance.hubble-relay.cilium.io`.
pub fn relay_service_names(namespace: &str) -> [String; 3] {
    [relay_service_name(namespace), format!("{HUBBLE_RELAY}.{namespace}.svc"), format!("*.{HUBBLE_RELAY}.cilium.io")]
}

/// An agent's TLS port, while a relay is wanted.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// Address and port, e.g. `[::]:4244`.
    #[validate(length(max = 64))]
    pub address: String,
    /// DNS name in the only client certificate that is let in, e.g. `trilobite-relay`.
    #[validate(length(max = 253))]
    pub relay_identity: String,
}
