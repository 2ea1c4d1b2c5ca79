//! NetworkPolicy of `networking.k8s.io/v1`.

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    fields::{Fields, texts, unknown_word},
    path::Path,
    port::network_policy_port,
    refusals::{Refusals, Unreadable},
    selector::selector,
};
use crate::{
    matching::{NamespaceSelection, PodSelector, PortsBuilder, Selector, parse_network},
    policy::{Policy, Precedence, Tier},
    policy_name::PolicyName,
    rule::{Action, PeersBuilder, Rule},
};

/// NetworkPolicies have no priorities: all of a pod's are asked.
const PRECEDENCE: Precedence = Precedence { tier: Tier::NetworkPolicy, priority: 0 };

pub(super) fn read(name: PolicyName, spec: &Value, refusals: &mut Refusals) -> Policy {
    let path = Path::Top("spec");
    let namespace = Arc::clone(&name.namespace);
    let of_namespace = |pods| PodSelector { namespaces: NamespaceSelection::Named(Arc::clone(&namespace)), pods };
    let isolate = |pods, egress: Option<Vec<Rule>>, ingress: Option<Vec<Rule>>| Policy {
        name,
        precedence: PRECEDENCE,
        pods: Some(of_namespace(pods)),
        egress: egress.map(Into::into),
        ingress: ingress.map(Into::into),
        refused: Vec::new(),
    };
    let empty = Value::Object(serde_json::Map::new());
    let spec = if spec.is_null() { &empty } else { spec };
    let known = ["podSelector", "ingress", "egress", "policyTypes"];
    let Ok(fields) = Fields::new(spec, &path, &known, refusals) else {
        return isolate(Selector::default(), Some(Vec::new()), Some(Vec::new()));
    };
    let pods = match fields.get("podSelector") {
        Some(value) => selector(value, &path.key("podSelector"), refusals),
        None => Ok(Selector::default()),
    };
    let egress = rules(&fields, "egress", "to", &namespace, refusals);
    let ingress = rules(&fields, "ingress", "from", &namespace, refusals);
    let (is_egress, is_ingress) = directions(&fields, refusals);
    match pods {
        Ok(pods) if !fields.has_unknown => isolate(pods, is_egress.then_some(egress), is_ingress.then_some(ingress)),
        pods => isolate(pods.unwrap_or_default(), is_egress.then(Vec::new), is_ingress.then(Vec::new)),
    }
}

/// Whether the policy isolates pods in egress, and in ingress. An unknown type isolates in both.
fn directions(spec: &Fields<'_, '_>, refusals: &mut Refusals) -> (bool, bool) {
    let path = spec.path.key("policyTypes");
    let types = spec.list("policyTypes", refusals).and_then(|types| texts(types, &path, refusals));
    let Ok(types) = types else {
        return (true, true);
    };
    if types.is_empty() {
        // What cannot be read is a section all the same.
        let has_egress =
            spec.get("egress").is_some_and(|egress| egress.as_array().is_none_or(|rules| !rules.is_empty()));
        return (has_egress, true);
    }
    let (mut is_egress, mut is_ingress) = (false, false);
    for (index, word) in types.into_iter().enumerate() {
        match word {
            "Egress" => is_egress = true,
            "Ingress" => is_ingress = true,
            unknown => {
                unknown_word(refusals, &path.index(index), unknown, &["Ingress", "Egress"]);
                (is_egress, is_ingress) = (true, true);
            }
        }
    }
    (is_egress, is_ingress)
}

/// The rules that can be read: one that cannot allows nothing.
fn rules(
    spec: &Fields<'_, '_>,
    section: &str,
    peers_key: &'static str,
    namespace: &Arc<str>,
    refusals: &mut Refusals,
) -> Vec<Rule> {
    let path = spec.path.key(section);
    let list = spec.list(section, refusals).unwrap_or_default();
    let rule = |(index, value)| rule(value, &path.index(index), peers_key, namespace, refusals).ok();
    list.iter().enumerate().filter_map(rule).collect()
}

/// A peer or port that cannot be read is left out. A rule of which none is left matches nothing.
fn rule(
    value: &Value,
    path: &Path<'_>,
    peers_key: &'static str,
    namespace: &Arc<str>,
    refusals: &mut Refusals,
) -> Result<Rule, Unreadable> {
    let fields = Fields::only_known(value, path, &[peers_key, "ports"], refusals)?;
    let (peers, ports) = (fields.list(peers_key, refusals)?, fields.list("ports", refusals)?);
    let (mut peer_set, mut port_set) = (PeersBuilder::default(), PortsBuilder::default());
    let (peers_path, ports_path) = (path.key(peers_key), path.key("ports"));
    for (index, value) in peers.iter().enumerate() {
        // What is refused was named.
        let _ = peer(value, &peers_path.index(index), namespace, &mut peer_set, refusals);
    }
    for (index, value) in ports.iter().enumerate() {
        let _ = network_policy_port(value, &ports_path.index(index), &mut port_set, refusals);
    }
    Ok(Rule {
        action: Action::Accept,
        peers: (!peers.is_empty()).then(|| peer_set.build()),
        ports: (!ports.is_empty()).then(|| port_set.build()),
    })
}

fn peer(
    value: &Value,
    path: &Path<'_>,
    namespace: &Arc<str>,
    peers: &mut PeersBuilder,
    refusals: &mut Refusals,
) -> Result<(), Unreadable> {
    let known = ["podSelector", "namespaceSelector", "ipBlock"];
    let fields = Fields::only_known(value, path, &known, refusals)?;
    let (pods, namespaces, block) = (fields.get(known[0]), fields.get(known[1]), fields.get(known[2]));
    if block.is_some() && (pods.is_some() || namespaces.is_some()) {
        return Err(refusals.refuse(path, "must not have ipBlock beside a selector"));
    }
    if let Some(block) = block {
        peers.blocks.push(ip_block(block, &path.key("ipBlock"), refusals)?);
        return Ok(());
    }
    if pods.is_none() && namespaces.is_none() {
        return Err(refusals.refuse(path, format_args!("must have one of {}", known.join(", "))));
    }
    let namespaces = match namespaces {
        Some(value) => NamespaceSelection::Labelled(selector(value, &path.key("namespaceSelector"), refusals)?),
        None => NamespaceSelection::Named(Arc::clone(namespace)),
    };
    let pods = match pods {
        Some(value) => selector(value, &path.key("podSelector"), refusals)?,
        None => Selector::default(),
    };
    peers.pods.push(PodSelector { namespaces, pods });
    Ok(())
}

fn ip_block(value: &Value, path: &Path<'_>, refusals: &mut Refusals) -> Result<(IpNet, Vec<IpNet>), Unreadable> {
    let fields = Fields::only_known(value, path, &["cidr", "except"], refusals)?;
    let cidr = fields.required_text("cidr", refusals)?;
    let cidr =
        parse_network(cidr).ok_or_else(|| refusals.refuse(&path.key("cidr"), "must be a network, e.g. 10.0.0.0/8"))?;
    let except_path = path.key("except");
    let except = texts(fields.list("except", refusals)?, &except_path, refusals)?;
    let network = |(index, text)| {
        parse_network(text)
            .ok_or_else(|| refusals.refuse(&except_path.index(index), "must be a network, e.g. 10.1.0.0/16"))
    };
    Ok((cidr, except.into_iter().enumerate().map(network).collect::<Result<_, _>>()?))
}
