//! `hubble_flows_processed_total`: every flow, by type and verdict.

use trilobite_crds::hubble_metrics::{HubbleMetric, MetricOption};

use super::{
    counter::{Family, FlowCounter, protocol},
    series::Label,
};
use crate::layers::network::flow::{Event, Flow, ObservationPoint};

pub(super) const FAMILY: Family = Family { name: "hubble_flows_processed", help: "Total number of flows processed" };

pub(super) fn labels(metric: &HubbleMetric) -> Vec<Label> {
    let mut labels = ["protocol", "type", "subtype", "verdict"].map(Label::bounded).to_vec();
    if !metric.has(MetricOption::HubbleLabels) {
        labels.push(Label::bounded("node_name"));
    }
    labels
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    let (kind, subtype) = match &flow.event {
        Event::Forwarded(forwarded) => ("Trace", point(forwarded.observation_point)),
        Event::Dropped(_) => ("Drop", ""),
        Event::PolicyVerdict(_) => ("PolicyVerdict", ""),
        Event::L7(_) => ("L7", protocol(flow)),
    };
    let node = counter.node.clone();
    let values = [protocol(flow), kind, subtype, flow.event.verdict().as_str_name(), &node];
    let own = if counter.metric.has(MetricOption::HubbleLabels) { &values[..4] } else { &values[..] };
    counter.count(flow, own);
}

fn point(point: ObservationPoint) -> &'static str {
    match point {
        ObservationPoint::ToStack => "to-stack",
        ObservationPoint::ToEndpoint => "to-endpoint",
        ObservationPoint::FromNetwork => "from-network",
        ObservationPoint::ToNetwork => "to-network",
    }
}
