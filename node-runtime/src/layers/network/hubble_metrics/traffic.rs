//! Metrics that Hubble does not have: packets and bytes by both ends, and drops by the kernel's own reason.

use super::{
    context::{direction, reserved_label, workload, write_in_namespace},
    counter::{Family, PodNames},
    drop::namespace,
    label_values::LabelValues,
    series::{Label, SeriesTable},
};
use crate::layers::network::{
    endpoint::{Endpoint, Reserved, Service},
    flow::{Event, Flow, ObservationPoint},
};

/// Packets and bytes of one table.
pub(super) const TRAFFIC: [Family; 2] = [
    Family {
        name: "trilobite_network_packets",
        help: "Packets that a pod sent (egress) or received (ingress), by both ends and by what the other end is",
    },
    Family {
        name: "trilobite_network_bytes",
        help: "Bytes that a pod sent (egress) or received (ingress), by both ends and by what the other end is",
    },
];
/// As `TRAFFIC`.
pub(super) const DROPS: [Family; 2] = [
    Family {
        name: "trilobite_network_drops",
        help: "Packets that the kernel dropped, by its own reason, by the function that did, and by the pod's namespace",
    },
    Family { name: "trilobite_network_drop_bytes", help: "Bytes of dropped packets" },
];

pub(super) struct Traffic {
    /// Packets and bytes.
    pub(super) traffic: SeriesTable<2>,
    /// As `traffic`.
    pub(super) drops: SeriesTable<2>,
}

impl Traffic {
    pub(super) fn new(limit: usize) -> Self {
        let [direction, scope] = ["direction", "scope"].map(Label::bounded);
        let [source, destination] = ["source", "destination"].map(Label::unbounded);
        let [reason, place, namespace] = ["reason", "place", "namespace"].map(Label::unbounded);
        Self {
            traffic: SeriesTable::new(vec![source, destination, direction, scope], limit),
            drops: SeriesTable::new(vec![reason, place, direction, namespace], limit),
        }
    }

    pub(super) fn record(&mut self, flow: &Flow) {
        match &flow.event {
            Event::Forwarded(forwarded) if forwarded.since.packets > 0 => {
                // Each packet is counted where its source sends it and where its destination receives it: a packet that is
                // dropped between them is in the first alone.
                let (direction, scope) = match forwarded.observation_point {
                    ObservationPoint::ToStack | ObservationPoint::ToNetwork => {
                        ("egress", scope(&flow.destination_endpoint, flow.destination_service.as_deref()))
                    }
                    ObservationPoint::ToEndpoint | ObservationPoint::FromNetwork => {
                        ("ingress", scope(&flow.source_endpoint, flow.source_service.as_deref()))
                    }
                };
                let values = &mut self.traffic.values;
                values.clear();
                push_end(&flow.source_endpoint, flow.source_service.as_deref(), values);
                push_end(&flow.destination_endpoint, flow.destination_service.as_deref(), values);
                values.push(direction);
                values.push(scope);
                self.traffic.add([forwarded.since.packets, forwarded.since.bytes]);
            }
            Event::Dropped(dropped) => {
                let values = &mut self.drops.values;
                values.clear();
                values.push(&dropped.kernel_reason);
                values.push(&dropped.place);
                values.push(direction(flow));
                values.push(namespace(flow));
                self.drops.add([dropped.packets, dropped.bytes]);
            }
            Event::Forwarded(_) | Event::PolicyVerdict(_) | Event::L7(_) => {}
        }
    }

    /// Adds the names that series have of their ends: most are workloads.
    pub(super) fn add_pods(&self, pods: &mut PodNames) {
        for (values, _) in self.traffic.iter() {
            for name in names(&values) {
                pods.entry(name).or_default();
            }
        }
    }

    /// Removes the series that name one of these pods.
    pub(super) fn remove_pods(&mut self, gone: &PodNames) {
        self.traffic.retain(|values| !names(values).any(|name| gone.contains_key(&name)));
    }
}

/// Names of ends that may be pods: of a pod without a workload, it is the pod's.
pub(super) fn names<'a>(values: &[&'a str]) -> impl Iterator<Item = (String, String)> + use<'a> {
    let ends: Vec<&'a str> = values.iter().take(2).copied().collect();
    ends.into_iter().filter_map(|end| end.split_once('/')).map(|(space, name)| (space.to_owned(), name.to_owned()))
}

/// `namespace/workload`; of an end without one the pod, the Service, or the reserved label.
pub(super) fn push_end(endpoint: &Endpoint, service: Option<&Service>, values: &mut LabelValues) {
    match (workload(endpoint), endpoint.pod.as_str(), service) {
        ("", "", Some(service)) => {
            values.write(&service.namespace);
            values.write("/");
            values.write(&service.name);
        }
        ("", "", None) => values.write(reserved_label(endpoint)),
        ("", pod, _) => write_in_namespace(endpoint, pod, values),
        (workload, _, _) => write_in_namespace(endpoint, workload, values),
    }
    values.end_value();
}

/// What the other end of a pod's packet is.
fn scope(endpoint: &Endpoint, service: Option<&Service>) -> &'static str {
    if service.is_some() {
        "service"
    } else if !endpoint.pod.is_empty() {
        "pod"
    } else if endpoint.identity == Reserved::World as u32 {
        "world"
    } else if endpoint.identity == Reserved::Unknown as u32 {
        "unknown"
    } else {
        "node"
    }
}
