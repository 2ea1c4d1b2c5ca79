//! `hubble_drop_total`: dropped packets and denied connections, by reason.

use trilobite_api::flow::{DropReason, Verdict};
use trilobite_crds::hubble_metrics::{HubbleMetric, MetricOption};

use super::{
    context,
    counter::{Family, FlowCounter, protocol},
    series::Label,
};
use crate::layers::network::flow::{Event, Flow, TrafficDirection};

pub(super) const FAMILY: Family = Family { name: "hubble_drop", help: "Number of drops" };

pub(super) fn labels(metric: &HubbleMetric) -> Vec<Label> {
    let mut labels = ["reason", "protocol"].map(Label::bounded).to_vec();
    if !metric.has(MetricOption::HubbleLabels) {
        labels.extend([Label::bounded("direction"), Label::unbounded("namespace")]);
    }
    labels
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    if flow.event.verdict() != Verdict::Dropped {
        return;
    }
    let values = [reason(flow).as_str_name(), protocol(flow), context::direction(flow), namespace(flow)];
    let own = if counter.metric.has(MetricOption::HubbleLabels) { &values[..2] } else { &values[..] };
    counter.count(flow, own);
}

/// Why a packet was dropped, or a connection denied.
pub(super) fn reason(flow: &Flow) -> DropReason {
    match &flow.event {
        Event::Dropped(dropped) => dropped.reason,
        Event::PolicyVerdict(verdict) => verdict.reason,
        Event::Forwarded(_) | Event::L7(_) => DropReason::Unknown,
    }
}

/// The namespace of the pod at whose side the packet was dropped.
pub(super) fn namespace(flow: &Flow) -> &str {
    let [source, destination] = [&flow.source_endpoint, &flow.destination_endpoint].map(|end| end.namespace.as_str());
    match flow.direction {
        TrafficDirection::Egress => source,
        TrafficDirection::Ingress => destination,
        TrafficDirection::Unknown if source.is_empty() => destination,
        TrafficDirection::Unknown => source,
    }
}
