//! `hubble_policy_verdicts_total`: what policies say of new connections. As with Hubble, a request that was forwarded counts too.

use trilobite_api::flow::Verdict;

use super::{
    counter::{Family, FlowCounter},
    series::Label,
};
use crate::layers::network::{
    endpoint::Reserved,
    flow::{Event, Flow, L7Record, TrafficDirection},
};

pub(super) const FAMILY: Family =
    Family { name: "hubble_policy_verdicts", help: "Total number of Cilium network policy verdicts" };

pub(super) fn labels() -> Vec<Label> {
    ["direction", "match", "action"].map(Label::bounded).to_vec()
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    let match_name = match &flow.event {
        // No policy keeps a node from its own pods.
        Event::PolicyVerdict(_) if flow.source_endpoint.identity == Reserved::Host as u32 => return,
        Event::PolicyVerdict(verdict) => match_name(verdict.match_type),
        Event::L7(l7) => match l7.record {
            L7Record::Dns(_) => "l7/dns",
            L7Record::Http(_) => "l7/http",
        },
        Event::Forwarded(_) | Event::Dropped(_) => return,
    };
    let direction = match flow.direction {
        TrafficDirection::Ingress => "ingress",
        TrafficDirection::Egress => "egress",
        TrafficDirection::Unknown => "traffic_direction_unknown",
    };
    let action = match flow.event.verdict() {
        Verdict::Dropped => "dropped",
        Verdict::Audit => "audit",
        _ => "forwarded",
    };
    counter.count(flow, &[direction, match_name, action]);
}

/// By which parts of its rules a policy matched.
fn match_name(match_type: u32) -> &'static str {
    match match_type {
        0 => "none",
        1 => "l3-only",
        2 => "l3-l4",
        3 => "l4-only",
        4 => "all",
        5 => "l3-proto",
        6 => "proto-only",
        _ => "unknown",
    }
}
