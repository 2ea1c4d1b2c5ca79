//! Hubble's metrics, counted from flows while the stack asks for them, and metrics of our own beside them.

mod context;
mod counter;
mod dns;
mod drop;
mod duration;
mod engine;
mod flow;
mod flows_to_world;
mod handler;
mod histogram;
mod http;
mod icmp;
mod label_values;
mod lookups;
mod policy;
mod port_distribution;
mod series;
mod tcp;
#[cfg(test)]
mod tests;
mod traffic;

use std::{fmt, sync::Arc, time::Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use trilobite_crds::hubble_metrics::FlowMetrics;

use self::{counter::PodNames, engine::Engine};
use super::{directory::Directory, flow::Flow, history::FlowBuffer};
use crate::{
    loss::{Ledger, LossPoint},
    problem::Problem,
};

/// The kind of record by which a reader of flows records what it missed.
pub(crate) const FLOWS_MISSED: &str = "flow";

/// The metrics of flows. Clones count into the same series.
#[derive(Clone)]
pub struct HubbleMetrics {
    engine: Arc<Mutex<Option<Engine>>>,
    node: Arc<str>,
    ledger: Ledger,
    buffer: FlowBuffer,
}

impl HubbleMetrics {
    /// Counts nothing yet.
    pub fn new(node: &str, ledger: Ledger, buffer: FlowBuffer) -> Self {
        Self { engine: Arc::default(), node: node.into(), ledger, buffer }
    }

    /// Starts or stops counting, or changes what is counted; metrics that stay the same keep their counts.
    pub fn apply(&self, settings: Option<&FlowMetrics>) {
        let mut engine = self.engine.lock();
        *engine = match (engine.take(), settings) {
            (_, None) => None,
            (Some(mut engine), Some(settings)) => {
                if engine.settings() != settings {
                    engine.change(settings.clone(), &self.node);
                }
                Some(engine)
            }
            (None, Some(settings)) => Some(Engine::new(settings.clone(), &self.node)),
        };
    }

    /// Counts one flow.
    pub fn record(&self, flow: &Flow) {
        if let Some(engine) = self.engine.lock().as_mut() {
            engine.record(flow);
        }
    }

    /// Counts a query that no answer came to.
    pub fn record_unanswered(&self, query: &Flow) {
        if let Some(engine) = self.engine.lock().as_mut() {
            engine.record_unanswered(query);
        }
    }

    /// That a metric has its most series, so that not every label set has one.
    pub fn problem(&self) -> Option<Problem> {
        let engine = self.engine.lock();
        let engine = engine.as_ref()?;
        let metric = engine.full_metric()?;
        Some(Problem::SeriesLimitReached { metric, limit: engine.settings().max_series })
    }

    /// Removes the series of pods that were deleted a minute ago, and gives series to label sets that became busy. To be called
    /// every few seconds; `directories` know all pods.
    pub fn sweep(&self, now: Instant, directories: &[Arc<dyn Directory>]) {
        let mut engine = self.engine.lock();
        let Some(engine) = engine.as_mut() else { return };
        let is_complete = !directories.is_empty() && directories.iter().all(|directory| directory.is_complete());
        let remove_living = |names: &mut PodNames| {
            for directory in directories {
                directory.visit_pods(&mut |pod| {
                    names.remove(&(pod.namespace.clone(), pod.pod.clone()));
                });
            }
        };
        engine.sweep(now, is_complete.then_some(remove_living));
    }
}

impl fmt::Debug for HubbleMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubbleMetrics")
    }
}

impl Collector for HubbleMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(engine) = self.engine.lock().as_ref() {
            engine.encode(&mut encoder)?;
        }
        let missed = self.ledger.by_kind().into_iter();
        let missed = missed.filter(|loss| loss.place == LossPoint::StreamReader && loss.kind == FLOWS_MISSED);
        let in_kernel = [LossPoint::FlowRing, LossPoint::DropMap, LossPoint::DnsRing];
        let sources = [
            ("perf_event_ring_buffer", in_kernel.map(|point| self.ledger.total_at(point)).iter().sum::<u64>()),
            ("observer_events_queue", self.ledger.total_at(LossPoint::HttpFlows)),
            ("hubble_ring_buffer", missed.map(|loss| loss.count).sum()),
        ];
        let help = "Number of lost events";
        let mut lost = encoder.encode_descriptor("hubble_lost_events", help, None, MetricType::Counter)?;
        for (source, count) in sources {
            ConstCounter::new(count).encode(lost.encode_family(&[("source", source)])?)?;
        }
        if let Some(since) = self.buffer.complete_since() {
            let seconds = Timestamp::now().duration_since(since).as_secs_f64().max(0.0);
            let help = "How far back the flows that the agent keeps reach";
            let gauge = ConstGauge::new(seconds);
            gauge.encode(encoder.encode_descriptor(
                "trilobite_network_history_seconds",
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}
