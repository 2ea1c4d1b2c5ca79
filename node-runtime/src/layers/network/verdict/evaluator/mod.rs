//! Joins what the policies say to flows: the names of those that deny a dropped packet, and an event for a new connection.

mod connection;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use trilobite_api::flow::DropReason;
use trilobite_netpol::{Decision, Side, Verdict};

use self::connection::{ClientEnd, Progress, asked_connection, client_end, from_client, progress};
use super::PolicyIndex;
use crate::{
    layers::network::{
        flow::{
            Dropped, Event, Flow, Forwarded, L4, Policies, PolicyAction, PolicyName, PolicyVerdict, TrafficDirection,
        },
        sources::drops::private_code,
        tcp_flags::TcpFlags,
    },
    problem::Problem,
};

/// Codes of packets that were dropped where CNIs drop what policies deny: netfilter, and programs at an interface.
const CODES_OF_POLICIES: [i32; 3] = [private_code::NETFILTER, private_code::TC_INGRESS, private_code::TC_EGRESS];
/// As these codes: Open vSwitch, by the kernel's reason.
const REASONS_OF_POLICIES: [&str; 2] = ["OPENVSWITCH_", "OVS_DROP_"];

/// How long after the last audited connection policies count as not enforced.
const AUDITS_ARE_RECENT: SignedDuration = SignedDuration::from_mins(10);

/// Knows no policy until it follows an index.
#[derive(Debug, Default)]
pub struct PolicyEvaluator {
    index: Option<Arc<Mutex<PolicyIndex>>>,
    /// This node's name.
    node: String,
    disagreements: Disagreements,
    last_audit: Option<Audit>,
}

/// A connection that a policy denies and whose server answered.
#[derive(Debug)]
struct Audit {
    time: Timestamp,
    policy: String,
}

/// Where policies and kernel agree and where they do not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disagreements {
    /// Dropped packets that the policies deny.
    pub denied_packets: u64,
    /// Packets that the policies allow, dropped where policies are enforced.
    pub allowed_packets: u64,
    /// Connections that the policies deny and whose server answered.
    pub audited_connections: u64,
}

impl PolicyEvaluator {
    /// An evaluator of the node with this name.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), ..Self::default() }
    }

    /// Asks this index from now on.
    pub fn follow(&mut self, index: Arc<Mutex<PolicyIndex>>) {
        self.index = Some(index);
    }

    /// Asks no index any more, and frees it.
    pub fn stop(&mut self) {
        self.index = None;
        self.last_audit = None;
    }

    pub fn disagreements(&self) -> Disagreements {
        self.disagreements
    }

    /// The problem of a node where connections pass that the policies deny, and none was ever dropped.
    pub fn not_enforced(&self, now: Timestamp) -> Option<Problem> {
        let Disagreements { denied_packets, audited_connections, .. } = self.disagreements;
        let Audit { time, policy } = self.last_audit.as_ref().filter(|_| denied_packets == 0)?;
        // A power of two: the status is not written for each connection.
        let connections = 1 << audited_connections.checked_ilog2()?;
        let is_recent = now.duration_since(*time) <= AUDITS_ARE_RECENT;
        is_recent.then(|| Problem::PolicyNotEnforced { policy: policy.clone(), connections })
    }

    /// Names the policies in a dropped packet that they deny. Returns the event of a new connection that they decide about.
    pub fn evaluate(&mut self, flow: &mut Flow) -> Option<Flow> {
        let index = self.index.clone()?;
        match &flow.event {
            Event::Dropped(dropped) if is_of_policies(dropped) => {
                let decision = decide(&index, flow, client_end(flow)?, &self.node)?;
                self.name_drop(flow, &decision);
                None
            }
            Event::Forwarded(forwarded) => {
                let progress = progress(flow, forwarded)?;
                let client = if progress == Progress::Opened { ClientEnd::Source } else { ClientEnd::Destination };
                let decision = decide(&index, flow, client, &self.node)?;
                self.verdict(flow, forwarded, progress, side_of(&decision, flow.direction)?)
            }
            _ => None,
        }
    }

    /// A drop is the policies' doing only if they deny it; at the end for which the flow is, if that one does.
    fn name_drop(&mut self, flow: &mut Flow, decision: &Decision) {
        let Event::Dropped(dropped) = &mut flow.event else { return };
        let (ingress, egress) =
            ((TrafficDirection::Ingress, &decision.ingress), (TrafficDirection::Egress, &decision.egress));
        let sides = if flow.direction == TrafficDirection::Ingress { [ingress, egress] } else { [egress, ingress] };
        let Some((direction, side)) = sides.into_iter().find(|(_, side)| side.verdict == Verdict::Denied) else {
            self.disagreements.allowed_packets += dropped.packets;
            return;
        };
        self.disagreements.denied_packets += dropped.packets;
        flow.direction = direction;
        dropped.reason = denial(side);
        dropped.sub_type = dropped.reason.into();
        dropped.policies = names(side);
    }

    /// What is denied is no event before it was answered: the packet may be dropped behind this interface.
    fn verdict(&mut self, flow: &Flow, forwarded: &Forwarded, progress: Progress, side: &Side) -> Option<Flow> {
        let (action, reason) = match (side.verdict, progress) {
            (Verdict::Allowed, Progress::Opened) if !side.allowed_by.is_empty() => {
                (PolicyAction::Allowed, DropReason::Unknown)
            }
            // A policy of domain names may allow it.
            (Verdict::Denied, Progress::Answered) if side.undecided_by.is_empty() => {
                self.disagreements.audited_connections += 1;
                let policy = side.denied_by.iter().chain(&side.isolated_by).next().map(ToString::to_string);
                self.last_audit = Some(Audit { time: flow.time, policy: policy.unwrap_or_default() });
                (PolicyAction::Audit, denial(side))
            }
            _ => return None,
        };
        let flags = match (flow.l4, progress) {
            (L4::Tcp, Progress::Answered) => TcpFlags::SYN,
            _ => forwarded.flags,
        };
        let match_type = u32::try_from(side.match_type as i32).unwrap_or_default();
        let event = PolicyVerdict { action, match_type, policies: names(side), reason, flags };
        Some(from_client(flow, progress, Event::PolicyVerdict(Box::new(event))))
    }
}

fn decide(index: &Mutex<PolicyIndex>, flow: &Flow, client: ClientEnd, node: &str) -> Option<Arc<Decision>> {
    let mut index = index.lock();
    let asked = asked_connection(flow, client, node, &index)?;
    index.decide(&asked.as_asked())
}

/// None if neither end is the watched one.
fn side_of(decision: &Decision, direction: TrafficDirection) -> Option<&Side> {
    match direction {
        TrafficDirection::Unknown => None,
        TrafficDirection::Egress => Some(&decision.egress),
        TrafficDirection::Ingress => Some(&decision.ingress),
    }
}

/// It was dropped where CNIs drop what policies deny, and for no reason that is known already.
fn is_of_policies(dropped: &Dropped) -> bool {
    let is_open_vswitch = || REASONS_OF_POLICIES.iter().any(|prefix| dropped.kernel_reason.starts_with(prefix));
    dropped.reason == DropReason::Unknown && (CODES_OF_POLICIES.contains(&dropped.sub_type) || is_open_vswitch())
}

/// Hubble's reason: a rule denies it, or no rule allows it.
fn denial(side: &Side) -> DropReason {
    if side.denied_by.is_empty() { DropReason::PolicyDenied } else { DropReason::PolicyDeny }
}

fn names(side: &Side) -> Policies {
    let named = |names: &[trilobite_netpol::PolicyName]| -> Vec<PolicyName> {
        let name = |one: &trilobite_netpol::PolicyName| PolicyName {
            name: one.name.to_string(),
            namespace: one.namespace.to_string(),
            kind: one.kind.as_str().to_owned(),
        };
        names.iter().map(name).collect()
    };
    match side.verdict {
        Verdict::Allowed => Policies { allowed_by: named(&side.allowed_by), ..Policies::default() },
        Verdict::Denied if side.denied_by.is_empty() => {
            Policies { denied_by: named(&side.isolated_by), ..Policies::default() }
        }
        Verdict::Denied => Policies { denied_by: named(&side.denied_by), ..Policies::default() },
    }
}

#[cfg(test)]
mod tests;
