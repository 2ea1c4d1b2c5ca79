//! Rules with an action: they accept, deny or pass, and fail closed by what they do.

use std::sync::Arc;

use serde_json::Value;

use super::{
    fields::{Fields, texts, unknown_word},
    path::Path,
    port::ReadPort,
    refusals::{Refusals, Unreadable},
    selector::{namespaced_pods, pods_of_namespaces, selector},
};
use crate::{
    matching::{PortsBuilder, parse_network},
    rule::{Action, PeersBuilder, Rule},
};

const INGRESS_PEERS: &[&str] = &["namespaces", "pods"];

/// How a kind spells its rules.
pub(super) struct Dialect {
    /// To accept, to deny, and to pass where the kind can.
    pub(super) actions: &'static [&'static str],
    pub(super) ports_key: &'static str,
    pub(super) read_port: ReadPort,
    pub(super) egress_peers: &'static [&'static str],
}

/// Where the rules' peers are, and which there can be.
struct Section<'a> {
    peers_key: &'static str,
    peers: &'static [&'static str],
    dialect: &'a Dialect,
    /// The spec has a field that is not known: each rule fails closed.
    is_unknown: bool,
}

/// The rules of a section, in order. `section`: egress or ingress.
pub(super) fn read_rules(
    spec: &Fields<'_, '_>,
    section: &str,
    dialect: &Dialect,
    refusals: &mut Refusals,
) -> Arc<[Rule]> {
    let path = spec.path.key(section);
    let (peers_key, peers) = if section == "egress" { ("to", dialect.egress_peers) } else { ("from", INGRESS_PEERS) };
    let section_of = Section { peers_key, peers, dialect, is_unknown: spec.has_unknown };
    match spec.list(section, refusals) {
        Ok(list) => {
            let rule = |(index, value)| section_of.rule(value, &path.index(index), refusals);
            list.iter().enumerate().filter_map(rule).collect()
        }
        Err(Unreadable) => [Rule::deny_all()].into(),
    }
}

impl Section<'_> {
    /// None where the rule matches nothing.
    fn rule(&self, value: &Value, path: &Path<'_>, refusals: &mut Refusals) -> Option<Rule> {
        let known = ["name", "action", self.peers_key, self.dialect.ports_key];
        let Ok(fields) = Fields::new(value, path, &known, refusals) else {
            return Some(Rule::deny_all());
        };
        let Ok(action) = self.action(&fields, refusals) else {
            return Some(Rule::deny_all());
        };
        match self.body(&fields, action, refusals) {
            Ok(rule) if !fields.has_unknown && !self.is_unknown => Some(rule),
            _ if action == Action::Accept => None,
            _ => Some(Rule::deny_all()),
        }
    }

    fn action(&self, fields: &Fields<'_, '_>, refusals: &mut Refusals) -> Result<Action, Unreadable> {
        let word = fields.required_text("action", refusals)?;
        match self.dialect.actions.iter().position(|action| *action == word) {
            Some(0) => Ok(Action::Accept),
            Some(1) => Ok(Action::Deny),
            Some(_) => Ok(Action::Pass),
            None => Err(unknown_word(refusals, &fields.path.key("action"), word, self.dialect.actions)),
        }
    }

    fn body(&self, fields: &Fields<'_, '_>, action: Action, refusals: &mut Refusals) -> Result<Rule, Unreadable> {
        let ports_key = self.dialect.ports_key;
        let (peers_path, ports_path) = (fields.path.key(self.peers_key), fields.path.key(ports_key));
        let (mut peers, mut ports) = (PeersBuilder::default(), PortsBuilder::default());
        for (index, value) in non_empty(fields, self.peers_key, refusals)?.iter().enumerate() {
            self.peer(value, &peers_path.index(index), action, &mut peers, refusals)?;
        }
        let has_ports = fields.get(ports_key).is_some();
        if has_ports {
            for (index, value) in non_empty(fields, ports_key, refusals)?.iter().enumerate() {
                (self.dialect.read_port)(value, &ports_path.index(index), &mut ports, refusals)?;
            }
        }
        Ok(Rule { action, peers: Some(peers.build()), ports: has_ports.then(|| ports.build()) })
    }

    fn peer(
        &self,
        value: &Value,
        path: &Path<'_>,
        action: Action,
        peers: &mut PeersBuilder,
        refusals: &mut Refusals,
    ) -> Result<(), Unreadable> {
        let fields = Fields::only_known(value, path, self.peers, refusals)?;
        let (key, value) = fields.single(self.peers, refusals)?;
        let key_path = path.key(key);
        match key {
            "namespaces" => peers.pods.push(pods_of_namespaces(value, &key_path, refusals)?),
            "pods" => peers.pods.push(namespaced_pods(value, &key_path, refusals)?),
            "nodes" => peers.nodes.push(selector(value, &key_path, refusals)?),
            "networks" => {
                let list = texts(non_empty(&fields, key, refusals)?, &key_path, refusals)?;
                for (index, text) in list.into_iter().enumerate() {
                    let network = parse_network(text);
                    let network = network
                        .ok_or_else(|| refusals.refuse(&key_path.index(index), "must be a network, e.g. 10.0.0.0/8"))?;
                    peers.blocks.push((network, Vec::new()));
                }
            }
            _ => {
                texts(non_empty(&fields, key, refusals)?, &key_path, refusals)?;
                if action != Action::Accept {
                    return Err(refusals.refuse(&key_path, "is supported for rules that accept only"));
                }
                refusals.refuse(&key_path, "names cannot be compared with addresses; this peer matches nothing");
                peers.has_domain_names = true;
            }
        }
        Ok(())
    }
}

fn non_empty<'v>(fields: &Fields<'v, '_>, key: &str, refusals: &mut Refusals) -> Result<&'v [Value], Unreadable> {
    let list = fields.list(key, refusals)?;
    if list.is_empty() {
        Err(refusals.refuse(&fields.path.key(key), "must have at least one element"))
    } else {
        Ok(list)
    }
}
