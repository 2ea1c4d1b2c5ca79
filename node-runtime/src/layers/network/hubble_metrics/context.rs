//! The labels that name the ends of a flow: `source`, `destination` and those of `labelsContext`.

use std::net::IpAddr;

use trilobite_crds::hubble_metrics::{ContextIdentifier, ContextLabel, Contexts, HubbleMetric};

use super::{label_values::LabelValues, series::Label};
use crate::layers::network::{
    endpoint::Endpoint,
    flow::{Flow, Names, TrafficDirection},
};

/// The label `app` of a pod, in the words of Kubernetes, of its add-ons, and of users.
const APP_LABELS: [&str; 3] = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];
const KUBE_APISERVER: &str = "reserved:kube-apiserver";

/// Which end of a flow the labels of the source are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndLabels {
    /// The flow's source.
    AsSeen,
    /// The flow is a response, and the labels are of its request: its source is the flow's destination.
    OfRequest,
}

struct FlowEnd<'a> {
    endpoint: &'a Endpoint,
    address: IpAddr,
    names: &'a Names,
}

fn source(flow: &Flow) -> FlowEnd<'_> {
    FlowEnd { endpoint: &flow.source_endpoint, address: flow.source.ip(), names: &flow.source_names }
}

fn destination(flow: &Flow) -> FlowEnd<'_> {
    FlowEnd { endpoint: &flow.destination_endpoint, address: flow.destination.ip(), names: &flow.destination_names }
}

/// A pod as the values of a series name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedPod<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// It cannot be a workload, or a part of other labels.
    pub(super) is_certain: bool,
}

impl EndLabels {
    /// The labels in the order of `push_values`.
    pub(super) fn labels(metric: &HubbleMetric) -> impl Iterator<Item = Label> {
        let own = metric.labels.iter().map(|label| match label {
            ContextLabel::TrafficDirection => Label::bounded(label.as_str()),
            label => Label::unbounded(label.as_str()),
        });
        let source = (!metric.source.is_empty()).then(|| Label::unbounded("source"));
        let destination = (!metric.destination.is_empty()).then(|| Label::unbounded("destination"));
        own.chain(source).chain(destination)
    }

    pub(super) fn push_values(self, metric: &HubbleMetric, flow: &Flow, values: &mut LabelValues) {
        let (source, destination) = match self {
            Self::AsSeen => (source(flow), destination(flow)),
            Self::OfRequest => (destination(flow), source(flow)),
        };
        for label in &metric.labels {
            write_label(*label, flow, &source, &destination, values);
            values.end_value();
        }
        let [of_source, of_destination] = self.contexts(metric);
        for (contexts, end, label) in
            [(of_source, source, &metric.source), (of_destination, destination, &metric.destination)]
        {
            if !label.is_empty() {
                write_first(contexts, flow, &end, values);
                values.end_value();
            }
        }
    }

    /// By which contexts the labels `source` and `destination` are named. Those of a flow's end stay with that end, also where
    /// its label is the other one, as with Hubble.
    fn contexts(self, metric: &HubbleMetric) -> [&Contexts; 2] {
        match self {
            Self::AsSeen => [&metric.source, &metric.destination],
            Self::OfRequest => [&metric.destination, &metric.source],
        }
    }

    /// The pods that a series names. A name alone is none: pods of two namespaces may share it.
    pub(super) fn pods<'a>(
        self,
        metric: &HubbleMetric,
        labels: &[Label],
        values: &[&'a str],
    ) -> impl Iterator<Item = NamedPod<'a>> {
        let value =
            |name: &str| labels.iter().position(|label| label.name == name).and_then(|at| values.get(at).copied());
        let [of_source, of_destination] = self.contexts(metric);
        let by_context = [(of_source, "source"), (of_destination, "destination")].map(|(contexts, label)| {
            let (namespace, name) = value(label).filter(|_| contexts.uses(ContextIdentifier::Pod))?.split_once('/')?;
            let others = [ContextIdentifier::Workload, ContextIdentifier::Identity];
            Some(NamedPod { namespace, name, is_certain: !others.iter().any(|other| contexts.uses(*other)) })
        });
        let by_labels = [("source_namespace", "source_pod"), ("destination_namespace", "destination_pod")]
            .map(|(namespace, pod)| value(namespace).zip(value(pod)))
            .map(|pod| pod.map(|(namespace, name)| NamedPod { namespace, name, is_certain: true }));
        let all = by_context.into_iter().chain(by_labels).flatten();
        all.filter(|pod| !pod.namespace.is_empty() && !pod.name.is_empty())
    }

    /// Whether `pods` finds any in a series of this metric.
    pub(super) fn names_pods(metric: &HubbleMetric) -> bool {
        let has = |label| metric.labels.contains(&label);
        metric.source.uses(ContextIdentifier::Pod)
            || metric.destination.uses(ContextIdentifier::Pod)
            || has(ContextLabel::SourceNamespace) && has(ContextLabel::SourcePod)
            || has(ContextLabel::DestinationNamespace) && has(ContextLabel::DestinationPod)
    }
}

/// `ingress`, `egress`, or `unknown`.
pub(super) fn direction(flow: &Flow) -> &'static str {
    match flow.direction {
        TrafficDirection::Ingress => "ingress",
        TrafficDirection::Egress => "egress",
        TrafficDirection::Unknown => "unknown",
    }
}

fn write_label(
    label: ContextLabel,
    flow: &Flow,
    source: &FlowEnd<'_>,
    destination: &FlowEnd<'_>,
    values: &mut LabelValues,
) {
    match label {
        ContextLabel::SourceIp => values.write_display(source.address),
        ContextLabel::SourcePod => values.write(&source.endpoint.pod),
        ContextLabel::SourceNamespace => values.write(&source.endpoint.namespace),
        ContextLabel::SourceWorkload => values.write(workload(source.endpoint)),
        ContextLabel::SourceWorkloadKind => values.write(workload_kind(source.endpoint)),
        ContextLabel::SourceApp => values.write(app(source.endpoint)),
        ContextLabel::DestinationIp => values.write_display(destination.address),
        ContextLabel::DestinationPod => values.write(&destination.endpoint.pod),
        ContextLabel::DestinationNamespace => values.write(&destination.endpoint.namespace),
        ContextLabel::DestinationWorkload => values.write(workload(destination.endpoint)),
        ContextLabel::DestinationWorkloadKind => values.write(workload_kind(destination.endpoint)),
        ContextLabel::DestinationApp => values.write(app(destination.endpoint)),
        ContextLabel::TrafficDirection => values.write(direction(flow)),
    }
}

/// Writes the first text that is not empty.
fn write_first(contexts: &Contexts, flow: &Flow, end: &FlowEnd<'_>, values: &mut LabelValues) {
    let identifiers = match flow.direction {
        TrafficDirection::Ingress if !contexts.ingress.is_empty() => &contexts.ingress,
        TrafficDirection::Egress if !contexts.egress.is_empty() => &contexts.egress,
        _ => &contexts.both,
    };
    for identifier in identifiers {
        write_identifier(*identifier, end, values);
        if !values.is_value_empty() {
            return;
        }
    }
}

fn write_identifier(identifier: ContextIdentifier, end: &FlowEnd<'_>, values: &mut LabelValues) {
    let FlowEnd { endpoint, address, names } = end;
    match identifier {
        ContextIdentifier::Identity => write_joined(&endpoint.labels, values),
        ContextIdentifier::Namespace => values.write(&endpoint.namespace),
        // With a namespace and no pod, e.g. of a Service, Hubble's is the namespace and the slash.
        ContextIdentifier::Pod => write_in_namespace(endpoint, &endpoint.pod, values),
        ContextIdentifier::PodName => values.write(&endpoint.pod),
        ContextIdentifier::Dns => write_joined(names.as_ref().map_or(&[][..], |names| names), values),
        ContextIdentifier::Ip => values.write_display(address),
        ContextIdentifier::ReservedIdentity => values.write(reserved_label(endpoint)),
        ContextIdentifier::Workload if workload(endpoint).is_empty() => {}
        ContextIdentifier::Workload => write_in_namespace(endpoint, workload(endpoint), values),
        ContextIdentifier::WorkloadName => values.write(workload(endpoint)),
        ContextIdentifier::App => values.write(app(endpoint)),
    }
}

fn write_joined(texts: &[String], values: &mut LabelValues) {
    for (position, text) in texts.iter().enumerate() {
        values.write(if position == 0 { "" } else { "," });
        values.write(text);
    }
}

pub(super) fn write_in_namespace(endpoint: &Endpoint, name: &str, values: &mut LabelValues) {
    if !endpoint.namespace.is_empty() {
        values.write(&endpoint.namespace);
        values.write("/");
    }
    values.write(name);
}

pub(super) fn workload(endpoint: &Endpoint) -> &str {
    endpoint.workload.as_ref().map_or("", |(name, _)| name)
}

fn workload_kind(endpoint: &Endpoint) -> &str {
    endpoint.workload.as_ref().map_or("", |(_, kind)| kind)
}

/// The first reserved label, but the API server's before `reserved:world` and the like.
pub(super) fn reserved_label(endpoint: &Endpoint) -> &str {
    let mut reserved = endpoint.labels.iter().map(String::as_str).filter(|label| label.starts_with("reserved:"));
    let first = reserved.clone().next().unwrap_or_default();
    reserved.find(|label| *label == KUBE_APISERVER).unwrap_or(first)
}

fn app(endpoint: &Endpoint) -> &str {
    let values = endpoint.labels.iter().filter_map(|label| APP_LABELS.iter().find_map(|app| label.strip_prefix(app)));
    values.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
}
