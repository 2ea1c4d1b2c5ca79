//! The relay's own metrics. Labels are bounded: resources, results and states, never names of objects or users.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RowLabels {
    resource: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    resource: &'static str,
    verb: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

pub struct Metrics {
    registry: Registry,
    rows: Family<RowLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    /// Open watches.
    pub watchers: Gauge,
    /// Bytes in the queues of all clients.
    pub queued_bytes: Gauge,
    agents: Family<StateLabels, Gauge>,
    /// The same in the words of Hubble's relay.
    peers: Family<StatusLabels, Gauge>,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowResult {
    /// An agent has sent it.
    Received,
    /// It was written to the client's connection.
    Delivered,
    /// It did not fit into the client's queue, or the client left.
    Lost,
    /// Left out of a list, because others are later.
    Omitted,
}

/// Counters of one resource.
#[derive(Clone, Debug, Default)]
pub struct RowMetrics {
    received: Counter,
    delivered: Counter,
    lost: Counter,
    omitted: Counter,
}

impl RowMetrics {
    pub fn count(&self, result: RowResult, rows: u64) {
        match result {
            RowResult::Received => self.received.inc_by(rows),
            RowResult::Delivered => self.delivered.inc_by(rows),
            RowResult::Lost => self.lost.inc_by(rows),
            RowResult::Omitted => self.omitted.inc_by(rows),
        };
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::default();
        let peers = Family::<StatusLabels, Gauge>::default();
        all.register(
            "hubble_relay_pool_peer_connection_status",
            "Agents by the status of their connection",
            peers.clone(),
        );
        let registry = all.sub_registry_with_prefix("trilobite_relay");
        let rows = Family::<RowLabels, Counter>::default();
        registry.register("rows", "Rows that agents sent, and what became of them", rows.clone());
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("requests", "Answered requests", requests.clone());
        let watchers = Gauge::default();
        registry.register("watchers", "Open watches", watchers.clone());
        let queued_bytes = Gauge::default();
        registry.register("queued_bytes", "Bytes queued for clients", queued_bytes.clone());
        let agents = Family::<StateLabels, Gauge>::default();
        registry.register("agents", "Known agents by the state of their connection", agents.clone());
        Self { registry: all, rows, requests, watchers, queued_bytes, agents, peers }
    }
}

impl Metrics {
    pub fn rows_of(&self, resource: &'static str) -> RowMetrics {
        let of = |result| self.rows.get_or_create(&RowLabels { resource, result }).clone();
        RowMetrics { received: of("received"), delivered: of("delivered"), lost: of("lost"), omitted: of("omitted") }
    }

    pub fn count_request(&self, resource: &'static str, verb: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { resource, verb, code }).inc();
    }

    /// How many agents there are, and how many of them are connected or have failed.
    pub fn set_agents(&self, known: usize, connected: usize, failed: usize) {
        let value = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in [("known", known), ("connected", connected), ("failed", failed)] {
            self.agents.get_or_create(&StateLabels { state }).set(value(count));
        }
        let idle = known.saturating_sub(connected + failed);
        for (status, count) in [("READY", connected), ("TRANSIENT_FAILURE", failed), ("IDLE", idle)] {
            self.peers.get_or_create(&StatusLabels { status }).set(value(count));
        }
    }

    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_resource_and_result() {
        let metrics = Metrics::default();
        metrics.rows_of("flows").count(RowResult::Lost, 7);
        metrics.count_request("flows", "watch", 200);
        metrics.set_agents(7, 4, 1);
        let text = metrics.encode().unwrap();
        for line in [
            "trilobite_relay_rows_total{resource=\"flows\",result=\"lost\"} 7",
            "trilobite_relay_requests_total{resource=\"flows\",verb=\"watch\",code=\"200\"} 1",
            "trilobite_relay_watchers 0",
            "trilobite_relay_agents{state=\"connected\"} 4",
            "hubble_relay_pool_peer_connection_status{status=\"READY\"} 4",
            "hubble_relay_pool_peer_connection_status{status=\"IDLE\"} 2",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
