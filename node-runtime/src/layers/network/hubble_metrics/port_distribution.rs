//! `hubble_port_distribution_total`: ports that clients send to.

use trilobite_api::flow::Verdict;

use super::{
    counter::{Family, FlowCounter},
    label_values::LabelValues,
    series::Label,
};
use crate::layers::network::flow::Flow;

pub(super) const FAMILY: Family =
    Family { name: "hubble_port_distribution", help: "Numbers of packets distributed by destination port" };

pub(super) fn labels() -> Vec<Label> {
    vec![Label::bounded("protocol"), Label::unbounded("port")]
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    // The port of a reply, and so of a flow that may be one, is the client's.
    if flow.event.verdict() != Verdict::Forwarded || flow.is_reply != Some(false) {
        return;
    }
    let Some(protocol) = flow.l4.name() else { return };
    let port = flow.destination_port().unwrap_or_default();
    counter.count_by(flow, |values: &mut LabelValues| {
        values.push(protocol);
        values.push_display(port);
    });
}
