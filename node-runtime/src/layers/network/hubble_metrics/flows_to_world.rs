//! `hubble_flows_to_world_total`: flows to addresses outside the cluster.

use trilobite_api::flow::{DropReason, Verdict};
use trilobite_crds::hubble_metrics::{HubbleMetric, MetricOption};

use super::{
    counter::{Family, FlowCounter, protocol},
    drop::reason,
    label_values::LabelValues,
    series::Label,
};
use crate::layers::network::{
    endpoint::Endpoint,
    flow::{Flow, L4},
    tcp_flags::TcpFlags,
};

pub(super) const FAMILY: Family =
    Family { name: "hubble_flows_to_world", help: "Total number of flows to reserved:world" };

/// The labels of what is outside the cluster.
const WORLD: [&str; 3] = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];

pub(super) fn labels(metric: &HubbleMetric) -> Vec<Label> {
    let mut labels = ["protocol", "verdict"].map(Label::bounded).to_vec();
    if metric.has(MetricOption::Port) {
        labels.push(Label::unbounded("port"));
    }
    labels
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    let has = |option| counter.metric.has(option);
    let has_l4 = flow.l4.name().is_some();
    if !has_l4 || !is_world(&flow.destination_endpoint) {
        return;
    }
    let verdict = flow.event.verdict();
    let is_reply = flow.is_reply == Some(true);
    let is_unwanted = match verdict {
        Verdict::Dropped => !has(MetricOption::AnyDrop) && reason(flow) != DropReason::PolicyDenied,
        // The port of a reply is one of the client's own.
        _ => is_reply,
    };
    let is_syn = flow.l4 == L4::Tcp && flow.event.tcp_flags().has(TcpFlags::SYN) && !is_reply;
    if is_unwanted || has(MetricOption::SynOnly) && !is_syn {
        return;
    }
    let with_port = has(MetricOption::Port);
    counter.count_by(flow, |values: &mut LabelValues| {
        values.push(protocol(flow));
        values.push(verdict.as_str_name());
        match flow.destination_port().filter(|_| with_port) {
            Some(port) => values.push_display(port),
            None if with_port => values.push(""),
            None => {}
        }
    });
}

/// Beside another reserved label as well: the API server may be outside the cluster.
fn is_world(endpoint: &Endpoint) -> bool {
    endpoint.labels.iter().any(|label| WORLD.contains(&label.as_str()))
}
