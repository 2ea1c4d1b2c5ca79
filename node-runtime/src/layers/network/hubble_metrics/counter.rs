//! The counts of one metric with its options.

use std::{collections::BTreeMap, sync::Arc};

use trilobite_crds::hubble_metrics::HubbleMetric;

use super::{
    context::{EndLabels, NamedPod},
    label_values::LabelValues,
    series::{Label, SeriesTable},
};
use crate::layers::network::flow::{Event, Flow, L7Record};

/// Namespace and name of pods, and whether each is certain to be a pod.
pub(super) type PodNames = BTreeMap<(String, String), bool>;

/// Name and help of a metric, without `_total`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// Each series has `N` counts.
pub(super) struct FlowCounter<const N: usize = 1> {
    pub(super) family: Family,
    pub(super) metric: HubbleMetric,
    pub(super) node: Arc<str>,
    pub(super) series: SeriesTable<N>,
    ends: EndLabels,
}

impl<const N: usize> FlowCounter<N> {
    /// `own_labels` come before those that name the flow's ends.
    pub(super) fn new(
        family: Family,
        metric: HubbleMetric,
        ends: EndLabels,
        node: Arc<str>,
        own_labels: Vec<Label>,
        limit: usize,
    ) -> Self {
        let labels = own_labels.into_iter().chain(EndLabels::labels(&metric)).collect();
        Self { family, metric, node, series: SeriesTable::new(labels, limit), ends }
    }

    /// Adds amounts to the series of the metric's own values and those that name the flow's ends.
    pub(super) fn add_by(&mut self, flow: &Flow, amounts: [u64; N], push_own_values: impl FnOnce(&mut LabelValues)) {
        let values = &mut self.series.values;
        values.clear();
        push_own_values(values);
        self.ends.push_values(&self.metric, flow, values);
        self.series.add(amounts);
    }

    /// Adds the pods that series name.
    pub(super) fn add_pods(&self, names: &mut PodNames) {
        if !EndLabels::names_pods(&self.metric) {
            return;
        }
        for (values, _) in self.series.iter() {
            for pod in self.ends.pods(&self.metric, self.series.labels(), &values) {
                let is_certain = names.entry(key(&pod)).or_default();
                *is_certain |= pod.is_certain;
            }
        }
    }

    /// Removes the series that name one of these pods.
    pub(super) fn remove_pods(&mut self, gone: &PodNames) {
        let Self { ends, metric, series, .. } = self;
        let labels: Vec<Label> = series.labels().to_vec();
        series.retain(|values| !ends.pods(metric, &labels, values).any(|pod| gone.contains_key(&key(&pod))));
    }
}

impl FlowCounter {
    /// Counts the flow by these values.
    pub(super) fn count(&mut self, flow: &Flow, own_values: &[&str]) {
        self.count_by(flow, |values| own_values.iter().for_each(|value| values.push(value)));
    }

    /// As `count`, with values that are no texts yet.
    pub(super) fn count_by(&mut self, flow: &Flow, push_own_values: impl FnOnce(&mut LabelValues)) {
        self.add_by(flow, [events(flow)], push_own_values);
    }
}

fn key(pod: &NamedPod<'_>) -> (String, String) {
    (pod.namespace.to_owned(), pod.name.to_owned())
}

/// Events that Hubble would have seen: it has one for each dropped packet, where one of ours stands for many.
fn events(flow: &Flow) -> u64 {
    match &flow.event {
        Event::Dropped(dropped) => dropped.packets,
        Event::Forwarded(_) | Event::PolicyVerdict(_) | Event::L7(_) => 1,
    }
}

/// The protocol of a flow in Hubble's words: that of the request where it is one.
pub(super) fn protocol(flow: &Flow) -> &'static str {
    match flow.l7().map(|l7| &l7.record) {
        Some(L7Record::Dns(_)) => "DNS",
        Some(L7Record::Http(_)) => "HTTP",
        None => flow.l4.name().unwrap_or("Unknown L4"),
    }
}
