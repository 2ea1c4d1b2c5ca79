//! One of Hubble's metrics: which flows it counts, and by which labels.

use std::sync::Arc;

use trilobite_crds::hubble_metrics::{HubbleMetric, MetricName};

use super::{
    counter::{Family, FlowCounter},
    drop, flow, flows_to_world, icmp, policy, port_distribution, tcp,
};
use crate::layers::network::flow::Flow;

pub(super) struct Handler {
    pub(super) counter: FlowCounter,
}

impl Handler {
    pub(super) fn new(metric: HubbleMetric, node: Arc<str>, limit: usize) -> Self {
        let labels = match metric.name {
            MetricName::Drop => drop::labels(&metric),
            MetricName::Flow => flow::labels(&metric),
            MetricName::FlowsToWorld => flows_to_world::labels(&metric),
            MetricName::Icmp => icmp::labels(),
            MetricName::Policy => policy::labels(),
            MetricName::PortDistribution => port_distribution::labels(),
            MetricName::Tcp => tcp::labels(),
        };
        Self { counter: FlowCounter::new(metric, node, labels, limit) }
    }

    pub(super) fn family(&self) -> Family {
        match self.counter.metric.name {
            MetricName::Drop => drop::FAMILY,
            MetricName::Flow => flow::FAMILY,
            MetricName::FlowsToWorld => flows_to_world::FAMILY,
            MetricName::Icmp => icmp::FAMILY,
            MetricName::Policy => policy::FAMILY,
            MetricName::PortDistribution => port_distribution::FAMILY,
            MetricName::Tcp => tcp::FAMILY,
        }
    }

    pub(super) fn record(&mut self, flow: &Flow) {
        let counter = &mut self.counter;
        match counter.metric.name {
            MetricName::Drop => drop::record(counter, flow),
            MetricName::Flow => flow::record(counter, flow),
            MetricName::FlowsToWorld => flows_to_world::record(counter, flow),
            MetricName::Icmp => icmp::record(counter, flow),
            MetricName::Policy => policy::record(counter, flow),
            MetricName::PortDistribution => port_distribution::record(counter, flow),
            MetricName::Tcp => tcp::record(counter, flow),
        }
    }
}
