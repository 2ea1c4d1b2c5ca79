//! The policies of a cluster: ClusterNetworkPolicy, and AdminNetworkPolicy and BaselineAdminNetworkPolicy before it.

use serde_json::Value;

use super::{
    fields::{Fields, unknown_word},
    path::Path,
    port::{admin_port, cluster_protocol},
    refusals::{Refusals, Unreadable},
    selector::{namespaced_pods, pods_of_namespaces},
    tiered::{Dialect, read_rules},
};
use crate::{
    matching::PodSelector,
    policy::{Policy, Precedence, Tier},
    policy_name::PolicyName,
};

/// Behind every ClusterNetworkPolicy of the tier: those end at 1000.
const BASELINE_ADMIN_PRIORITY: i64 = i64::MAX;

/// How a kind spells its spec.
pub(super) struct KindOfCluster {
    /// None: `spec.tier` says it.
    tier: Option<Tier>,
    /// `spec.priority` is required.
    has_priority: bool,
    dialect: Dialect,
}

pub(super) const CLUSTER: KindOfCluster = KindOfCluster {
    tier: None,
    has_priority: true,
    dialect: Dialect {
        actions: &["Accept", "Deny", "Pass"],
        ports_key: "protocols",
        read_port: cluster_protocol,
        egress_peers: &["namespaces", "pods", "nodes", "networks", "domainNames"],
    },
};

pub(super) const ADMIN: KindOfCluster = KindOfCluster {
    tier: Some(Tier::Admin),
    has_priority: true,
    dialect: Dialect {
        actions: &["Allow", "Deny", "Pass"],
        ports_key: "ports",
        read_port: admin_port,
        egress_peers: &["namespaces", "pods", "nodes", "networks", "domainNames"],
    },
};

pub(super) const BASELINE_ADMIN: KindOfCluster = KindOfCluster {
    tier: Some(Tier::Baseline),
    has_priority: false,
    dialect: Dialect {
        actions: &["Allow", "Deny"],
        ports_key: "ports",
        read_port: admin_port,
        egress_peers: &["namespaces", "pods", "nodes", "networks"],
    },
};

pub(super) fn read(name: PolicyName, spec: &Value, kind: &KindOfCluster, refusals: &mut Refusals) -> Policy {
    let selects_no_pod = Precedence { tier: Tier::Baseline, priority: BASELINE_ADMIN_PRIORITY };
    let mut policy =
        Policy { name, precedence: selects_no_pod, pods: None, egress: None, ingress: None, refused: Vec::new() };
    let path = Path::Top("spec");
    let mut known = vec!["subject", "ingress", "egress"];
    known.extend(kind.tier.is_none().then_some("tier"));
    known.extend(kind.has_priority.then_some("priority"));
    let Ok(fields) = Fields::new(spec, &path, &known, refusals) else {
        return policy;
    };
    // Each part names what it refuses, whatever becomes of the others.
    let tier = kind.tier.map_or_else(|| tier(&fields, refusals), Ok);
    let priority = if kind.has_priority { priority(&fields, refusals) } else { Ok(BASELINE_ADMIN_PRIORITY) };
    let pods = subject(&fields, refusals);
    policy.egress = Some(read_rules(&fields, "egress", &kind.dialect, refusals));
    policy.ingress = Some(read_rules(&fields, "ingress", &kind.dialect, refusals));
    if let (Ok(tier), Ok(priority), Ok(pods)) = (tier, priority, pods) {
        policy.precedence = Precedence { tier, priority };
        policy.pods = Some(pods);
    }
    policy
}

fn tier(spec: &Fields<'_, '_>, refusals: &mut Refusals) -> Result<Tier, Unreadable> {
    match spec.required_text("tier", refusals)? {
        "Admin" => Ok(Tier::Admin),
        "Baseline" => Ok(Tier::Baseline),
        unknown => Err(unknown_word(refusals, &spec.path.key("tier"), unknown, &["Admin", "Baseline"])),
    }
}

fn priority(spec: &Fields<'_, '_>, refusals: &mut Refusals) -> Result<i64, Unreadable> {
    let number = spec.get("priority").and_then(Value::as_i64).filter(|number| (0..=1000).contains(number));
    number.ok_or_else(|| refusals.refuse(&spec.path.key("priority"), "must be a number from 0 to 1000"))
}

fn subject(spec: &Fields<'_, '_>, refusals: &mut Refusals) -> Result<PodSelector, Unreadable> {
    let path = spec.path.key("subject");
    let value = spec.get("subject").ok_or_else(|| refusals.refuse(&path, "is required"))?;
    let known = ["namespaces", "pods"];
    let (key, value) = Fields::only_known(value, &path, &known, refusals)?.single(&known, refusals)?;
    let path = path.key(key);
    match key {
        "namespaces" => pods_of_namespaces(value, &path, refusals),
        _ => namespaced_pods(value, &path, refusals),
    }
}
