//! All policies of a cluster, compiled, and the evaluation of a connection.

use std::{net::IpAddr, sync::Arc};

use crate::{
    connection::{Connection, Peer, Pod},
    decision::{Decision, MatchType, Side, Verdict},
    matching::PodIndex,
    policy::{Policy, Tier},
    policy_name::PolicyName,
    refused::Refused,
    rule::{Action, Match, Rule},
};

/// All policies of a cluster, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    egress: PoliciesOfDirection,
    ingress: PoliciesOfDirection,
}

#[derive(Clone, Debug, Default)]
struct PoliciesOfDirection {
    /// What each policy selects, at the policy's position.
    pods: PodIndex,
    policies: Box<[CompiledPolicy]>,
}

#[derive(Clone, Debug)]
struct CompiledPolicy {
    name: PolicyName,
    tier: Tier,
    rules: Arc<[Rule]>,
}

/// The other end, seen from the pod whose policies are asked.
struct OtherEnd<'a> {
    peer: &'a Peer<'a>,
    ip: IpAddr,
    connection: &'a Connection<'a>,
}

impl PolicySet {
    /// Compiles the policies, and lists what of them was refused. The order of the policies does not matter.
    pub fn compile(policies: &[Policy]) -> (Self, Vec<Refused>) {
        let mut ordered: Vec<&Policy> = policies.iter().collect();
        ordered.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let set = Self {
            egress: PoliciesOfDirection::compile(&ordered, |policy| policy.egress.as_ref()),
            ingress: PoliciesOfDirection::compile(&ordered, |policy| policy.ingress.as_ref()),
        };
        (set, ordered.iter().flat_map(|policy| &policy.refused).cloned().collect())
    }

    /// Whether no policy selects any pod.
    pub fn is_empty(&self) -> bool {
        self.egress.policies.is_empty() && self.ingress.policies.is_empty()
    }

    /// Whether a rule is about addresses: without one, connections between the same peers are decided alike.
    pub fn uses_addresses(&self) -> bool {
        let policies = self.egress.policies.iter().chain(&self.ingress.policies);
        policies.flat_map(|policy| &*policy.rules).any(Rule::uses_addresses)
    }

    /// What the policies of the client say about its egress, and those of the server about its ingress.
    pub fn evaluate(&self, connection: &Connection<'_>) -> Decision {
        let Connection { client, client_ip, server, server_ip, .. } = connection;
        let server_end = OtherEnd { peer: server, ip: *server_ip, connection };
        let client_end = OtherEnd { peer: client, ip: *client_ip, connection };
        Decision {
            egress: client.pod().map_or_else(Side::default, |pod| self.egress.evaluate(pod, &server_end, false)),
            ingress: server
                .pod()
                .map_or_else(Side::default, |pod| self.ingress.evaluate(pod, &client_end, client.is_node_of(pod))),
        }
    }
}

impl PoliciesOfDirection {
    fn compile<'a>(ordered: &[&'a Policy], rules: impl Fn(&'a Policy) -> Option<&'a Arc<[Rule]>>) -> Self {
        let selected = ordered.iter().filter_map(|policy| Some((*policy, policy.pods.as_ref()?, rules(policy)?)));
        let (pods, policies): (Vec<_>, Vec<_>) = selected
            .map(|(policy, pods, rules)| {
                let (name, tier) = (policy.name.clone(), policy.precedence.tier);
                (pods.clone(), CompiledPolicy { name, tier, rules: Arc::clone(rules) })
            })
            .unzip();
        Self { pods: PodIndex::new(pods), policies: policies.into() }
    }

    /// `is_from_own_node`: the API lets the traffic of a node to its own pods pass NetworkPolicies.
    fn evaluate(&self, pod: &Pod<'_>, other: &OtherEnd<'_>, is_from_own_node: bool) -> Side {
        let mut positions = Vec::new();
        self.pods.visit(pod, &mut |position| {
            positions.push(position);
            false
        });
        if positions.is_empty() {
            return Side::default();
        }
        // The order of precedence.
        positions.sort_unstable();
        let policies =
            |tier: Tier| positions.iter().map(|position| &self.policies[*position]).filter(move |one| one.tier == tier);

        let mut undecided_by = Vec::new();
        if let Some(side) = ask_in_order(policies(Tier::Admin), other, &mut undecided_by) {
            return side;
        }
        if let Some(mut side) = ask_network_policies(policies(Tier::NetworkPolicy), other, is_from_own_node) {
            if side.verdict == Verdict::Denied {
                side.undecided_by = undecided_by;
            }
            return side;
        }
        ask_in_order(policies(Tier::Baseline), other, &mut undecided_by).unwrap_or_default()
    }
}

/// The rules of Admin or Baseline: the first that matches decides. None where no rule matches, or the one that does passes.
/// `undecided_by` gets the policies whose domain names may accept it, and becomes a part of a side that is denied.
fn ask_in_order<'a>(
    policies: impl Iterator<Item = &'a CompiledPolicy>,
    other: &OtherEnd<'_>,
    undecided_by: &mut Vec<PolicyName>,
) -> Option<Side> {
    for policy in policies {
        for rule in &*policy.rules {
            match rule.matches(other.peer, other.ip, other.connection) {
                Match::No => continue,
                Match::Undecided => {
                    if undecided_by.last() != Some(&policy.name) {
                        undecided_by.push(policy.name.clone());
                    }
                    continue;
                }
                Match::Yes => {}
            }
            let (name, match_type) = (vec![policy.name.clone()], rule.match_type());
            return match rule.action {
                Action::Accept => Some(Side { allowed_by: name, match_type, ..Side::default() }),
                Action::Deny => Some(Side {
                    verdict: Verdict::Denied,
                    denied_by: name,
                    undecided_by: std::mem::take(undecided_by),
                    match_type,
                    ..Side::default()
                }),
                Action::Pass => None,
            };
        }
    }
    None
}

/// None where no NetworkPolicy isolates the pod; otherwise they decide.
fn ask_network_policies<'a>(
    policies: impl Iterator<Item = &'a CompiledPolicy>,
    other: &OtherEnd<'_>,
    is_from_own_node: bool,
) -> Option<Side> {
    let (mut allowed_by, mut isolated_by, mut match_type) = (Vec::new(), Vec::new(), MatchType::None);
    for policy in policies {
        let matching =
            policy.rules.iter().filter(|rule| rule.matches(other.peer, other.ip, other.connection) == Match::Yes);
        match matching.map(Rule::match_type).max_by_key(|one| one.rank()) {
            Some(of_policy) => {
                allowed_by.push(policy.name.clone());
                if of_policy.rank() > match_type.rank() {
                    match_type = of_policy;
                }
            }
            None => isolated_by.push(&policy.name),
        }
    }
    if !allowed_by.is_empty() {
        return Some(Side { allowed_by, match_type, ..Side::default() });
    }
    if isolated_by.is_empty() {
        return None;
    }
    if is_from_own_node {
        return Some(Side::default());
    }
    Some(Side { verdict: Verdict::Denied, isolated_by: isolated_by.into_iter().cloned().collect(), ..Side::default() })
}
