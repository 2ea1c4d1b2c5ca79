//! `hubble_http_*`: requests, responses and their durations, as the profiles of the application layer see them. The metric
//! `http` counts requests and responses apart, `httpV2` a request when it is answered.

use trilobite_crds::hubble_metrics::{HubbleMetric, MetricOption};

use super::{
    counter::{Family, FlowCounter},
    duration::DurationCounter,
    label_values::LabelValues,
    series::Label,
};
use crate::layers::network::flow::{Flow, Http, L7, TrafficDirection};

pub(super) const REQUESTS: Family = Family { name: "hubble_http_requests", help: "Count of HTTP requests" };
pub(super) const RESPONSES: Family = Family { name: "hubble_http_responses", help: "Count of HTTP responses" };

/// The client chooses it: any text.
fn method() -> Label {
    Label::unbounded("method")
}

pub(super) fn request_labels() -> Vec<Label> {
    vec![method(), Label::bounded("protocol"), Label::bounded("reporter")]
}

pub(super) fn response_labels(metric: &HubbleMetric) -> Vec<Label> {
    let mut labels = vec![method(), Label::bounded("protocol"), Label::bounded("reporter"), Label::bounded("status")];
    if !metric.has(MetricOption::HubbleLabels) {
        labels.push(Label::bounded("status_code"));
    }
    labels
}

pub(super) fn duration() -> (Family, Vec<Label>) {
    let family =
        Family { name: "hubble_http_request_duration_seconds", help: "Quantiles of HTTP request duration in seconds" };
    (family, vec![method(), Label::bounded("reporter")])
}

pub(super) fn record(
    requests: &mut FlowCounter,
    responses: Option<&mut FlowCounter>,
    durations: Option<&mut DurationCounter>,
    flow: &Flow,
) {
    let Some((l7, http)) = http(flow) else { return };
    match (l7.is_response(), responses) {
        (false, _) => requests.count(flow, &[&http.method, &http.protocol, reporter(flow)]),
        (true, Some(responses)) => {
            count_response(responses, flow, http);
            observe(durations, flow, l7, http);
        }
        (true, None) => {}
    }
}

pub(super) fn record_v2(
    requests: &mut FlowCounter,
    responses: Option<&mut FlowCounter>,
    durations: Option<&mut DurationCounter>,
    flow: &Flow,
) {
    if let Some((l7, http)) = http(flow).filter(|(l7, _)| l7.is_response()) {
        count_response(requests, flow, http);
        responses.into_iter().for_each(|responses| count_response(responses, flow, http));
        observe(durations, flow, l7, http);
    }
}

fn http(flow: &Flow) -> Option<(&L7, &Http)> {
    let l7 = flow.l7()?;
    Some((l7, l7.http()?))
}

fn count_response(counter: &mut FlowCounter, flow: &Flow, http: &Http) {
    let has_status_code = !counter.metric.has(MetricOption::HubbleLabels);
    counter.count_by(flow, |values: &mut LabelValues| {
        values.push(&http.method);
        values.push(&http.protocol);
        values.push(reporter(flow));
        (0..=u8::from(has_status_code)).for_each(|_| values.push_display(http.code));
    });
}

fn observe(durations: Option<&mut DurationCounter>, flow: &Flow, l7: &L7, http: &Http) {
    if let Some(durations) = durations {
        durations.observe(flow, l7.latency_ns, |values| {
            values.push(&http.method);
            values.push(reporter(flow));
        });
    }
}

/// Which end has seen the request.
fn reporter(flow: &Flow) -> &'static str {
    match flow.direction {
        TrafficDirection::Egress => "client",
        TrafficDirection::Ingress => "server",
        TrafficDirection::Unknown => "unknown",
    }
}
