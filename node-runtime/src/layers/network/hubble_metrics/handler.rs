//! One of Hubble's metrics: which flows it counts, and by which labels.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use trilobite_crds::hubble_metrics::{HubbleMetric, MetricName, MetricOption};

use super::{
    context::EndLabels,
    counter::{Family, FlowCounter, PodNames},
    dns, drop,
    duration::DurationCounter,
    flow, flows_to_world, http, icmp, policy, port_distribution,
    series::{Label, SeriesTable},
    tcp,
};
use crate::layers::network::flow::Flow;

pub(super) struct Handler {
    pub(super) metric: HubbleMetric,
    /// In the order of `families`.
    counters: Vec<FlowCounter>,
    durations: Option<DurationCounter>,
}

impl Handler {
    pub(super) fn new(metric: HubbleMetric, node: &Arc<str>, limit: usize) -> Self {
        let ends = if metric.name == MetricName::HttpV2 { EndLabels::OfRequest } else { EndLabels::AsSeen };
        let counter = |(family, labels): (Family, Vec<Label>)| {
            FlowCounter::new(family, metric.clone(), ends, node.clone(), labels, limit)
        };
        let is_http = matches!(metric.name, MetricName::Http | MetricName::HttpV2);
        let durations = is_http.then(|| {
            let (family, labels) = http::duration();
            DurationCounter::new(family, metric.clone(), ends, node.clone(), labels, limit)
        });
        Self { counters: families(&metric).into_iter().map(counter).collect(), durations, metric }
    }

    pub(super) fn record(&mut self, flow: &Flow) {
        if self.metric.name == MetricName::Dns {
            return dns::record(&self.metric, &mut self.counters, flow);
        }
        let Some((counter, others)) = self.counters.split_first_mut() else { return };
        match self.metric.name {
            MetricName::Dns => {}
            MetricName::Drop => drop::record(counter, flow),
            MetricName::Flow => flow::record(counter, flow),
            MetricName::FlowsToWorld => flows_to_world::record(counter, flow),
            MetricName::Http => http::record(counter, others.first_mut(), self.durations.as_mut(), flow),
            MetricName::HttpV2 => http::record_v2(counter, others.first_mut(), self.durations.as_mut(), flow),
            MetricName::Icmp => icmp::record(counter, flow),
            MetricName::Policy => policy::record(counter, flow),
            MetricName::PortDistribution => port_distribution::record(counter, flow),
            MetricName::Tcp => tcp::record(counter, flow),
        }
    }

    /// A query of DNS that no answer came to.
    pub(super) fn record_unanswered(&mut self, query: &Flow) {
        if self.metric.name == MetricName::Dns {
            dns::record_unanswered(&self.metric, &mut self.counters, query);
        }
    }

    pub(super) fn rebalance(&mut self) {
        self.counters.iter_mut().for_each(|counter| counter.series.rebalance());
        self.durations.iter_mut().for_each(|durations| durations.series.rebalance());
    }

    /// Adds the pods that series name.
    pub(super) fn add_pods(&self, names: &mut PodNames) {
        self.counters.iter().for_each(|counter| counter.add_pods(names));
        self.durations.iter().for_each(|durations| durations.add_pods(names));
    }

    /// Removes the series that name one of these pods.
    pub(super) fn remove_pods(&mut self, gone: &PodNames) {
        self.counters.iter_mut().for_each(|counter| counter.remove_pods(gone));
        self.durations.iter_mut().for_each(|durations| durations.remove_pods(gone));
    }

    /// What each family has counted in `other`, by its name in the page.
    pub(super) fn in_other(&self) -> impl Iterator<Item = (String, u64)> {
        let counters = self.counters.iter().map(|it| (format!("{}_total", it.family.name), it.series.in_other()));
        let durations = self.durations.iter().map(|it| (it.family.name.to_owned(), it.series.in_other()));
        counters.chain(durations)
    }

    #[cfg(test)]
    pub(super) fn series(&self) -> usize {
        let durations = self.durations.iter().map(|durations| durations.series.len());
        self.counters.iter().map(|counter| counter.series.len()).chain(durations).sum()
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for counter in &self.counters {
            encode_table(encoder, [counter.family], &counter.series)?;
        }
        self.durations.iter().try_for_each(|durations| durations.encode(encoder))
    }
}

/// The counters of a metric, and their own labels.
fn families(metric: &HubbleMetric) -> Vec<(Family, Vec<Label>)> {
    match metric.name {
        MetricName::Dns => vec![
            (dns::QUERIES, dns::labels(metric)),
            (dns::RESPONSES, dns::labels(metric)),
            (dns::RESPONSE_TYPES, dns::type_labels(metric)),
        ],
        MetricName::Drop => vec![(drop::FAMILY, drop::labels(metric))],
        MetricName::Flow => vec![(flow::FAMILY, flow::labels(metric))],
        MetricName::FlowsToWorld => vec![(flows_to_world::FAMILY, flows_to_world::labels(metric))],
        MetricName::Http => {
            vec![(http::REQUESTS, http::request_labels()), (http::RESPONSES, http::response_labels(metric))]
        }
        // Hubble's own dashboards have both metrics, of which it makes one.
        MetricName::HttpV2 if !metric.has(MetricOption::HubbleLabels) => {
            let labels = http::response_labels(metric);
            vec![(http::REQUESTS, labels.clone()), (http::RESPONSES, labels)]
        }
        MetricName::HttpV2 => vec![(http::REQUESTS, http::response_labels(metric))],
        MetricName::Icmp => vec![(icmp::FAMILY, icmp::labels())],
        MetricName::Policy => vec![(policy::FAMILY, policy::labels())],
        MetricName::PortDistribution => vec![(port_distribution::FAMILY, port_distribution::labels())],
        MetricName::Tcp => vec![(tcp::FAMILY, tcp::labels())],
    }
}

pub(super) fn encode_table<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    families: [Family; N],
    table: &SeriesTable<N>,
) -> fmt::Result {
    for (position, Family { name, help }) in families.into_iter().enumerate() {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (values, counts) in table.iter() {
            let names = table.labels().iter().map(|Label { name, .. }| *name);
            let labels: Vec<(&str, &str)> = names.zip(values).collect();
            ConstCounter::new(counts[position]).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
