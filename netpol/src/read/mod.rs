//! Objects of the API server read into policies. What is not known is refused by its path and fails closed.

mod cluster;
mod fields;
mod network_policy;
mod path;
mod port;
mod refusals;
mod selector;
mod tiered;

use std::sync::Arc;

use serde_json::Value;

use crate::{
    policy::Policy,
    policy_name::{PolicyKind, PolicyName},
    refused::NotAPolicy,
};
use refusals::Refusals;

const NETWORKING_V1: &str = "networking.k8s.io/v1";
const POLICY_V1ALPHA1: &str = "policy.networking.k8s.io/v1alpha1";
const POLICY_V1ALPHA2: &str = "policy.networking.k8s.io/v1alpha2";
const POLICY_V1BETA1: &str = "policy.networking.k8s.io/v1beta1";

/// The versions of each kind that can be read.
const KINDS: [(PolicyKind, &[&str]); 4] = [
    (PolicyKind::NetworkPolicy, &[NETWORKING_V1]),
    (PolicyKind::ClusterNetworkPolicy, &[POLICY_V1BETA1, POLICY_V1ALPHA2]),
    (PolicyKind::AdminNetworkPolicy, &[POLICY_V1ALPHA1]),
    (PolicyKind::BaselineAdminNetworkPolicy, &[POLICY_V1ALPHA1]),
];

impl Policy {
    /// Reads an object of any kind of network policy. A null field counts as one that is not there, as in Go.
    pub fn from_json(object: &Value) -> Result<Self, NotAPolicy> {
        let name = policy_name(object)?;
        let mut refusals = Refusals::new(name.clone());
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let mut policy = match name.kind {
            PolicyKind::NetworkPolicy => network_policy::read(name, spec, &mut refusals),
            PolicyKind::ClusterNetworkPolicy => cluster::read(name, spec, &cluster::CLUSTER, &mut refusals),
            PolicyKind::AdminNetworkPolicy => cluster::read(name, spec, &cluster::ADMIN, &mut refusals),
            PolicyKind::BaselineAdminNetworkPolicy => {
                cluster::read(name, spec, &cluster::BASELINE_ADMIN, &mut refusals)
            }
        };
        policy.refused = refusals.into_list();
        Ok(policy)
    }
}

fn policy_name(object: &Value) -> Result<PolicyName, NotAPolicy> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, version, name, namespace) =
        (text("/kind"), text("/apiVersion"), text("/metadata/name"), text("/metadata/namespace"));
    let not_a_policy = |field: &str, why: String| NotAPolicy { field: field.into(), why };
    let Some((kind, versions)) = KINDS.into_iter().find(|(known, _)| known.as_str() == kind) else {
        let known = KINDS.map(|(kind, _)| kind.as_str()).join(", ");
        return Err(not_a_policy("kind", format!("must be one of {known}")));
    };
    if !versions.contains(&version) {
        return Err(not_a_policy("apiVersion", format!("must be {} for {}", versions.join(" or "), kind.as_str())));
    }
    if name.is_empty() {
        return Err(not_a_policy("metadata.name", "is required".into()));
    }
    let namespace = match kind {
        PolicyKind::NetworkPolicy if namespace.is_empty() => "default",
        PolicyKind::NetworkPolicy => namespace,
        _ => "",
    };
    Ok(PolicyName { kind, namespace: Arc::from(namespace), name: Arc::from(name) })
}
