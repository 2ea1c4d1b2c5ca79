//! Numbers about the operator itself. Labels are bounded: kinds, reasons and results, never names of objects.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfController {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfError {
    controller: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

/// How a status patch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patched {
    Ok,
    Error,
    Gone,
}

/// All of the operator's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<OfController, Counter>,
    errors: Family<OfError, Counter>,
    durations: Family<OfController, Histogram, fn() -> Histogram>,
    watch_errors: Family<OfKind, Counter>,
    malformed: Family<OfKind, Counter>,
    patches: Family<OfResult, Counter>,
    status_queue: Gauge,
    nodes: Family<OfState, Gauge>,
    pointer_moves: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("trilobite_operator");
        let (reconciles, errors) = (Family::default(), Family::default());
        let durations: Family<OfController, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 8)));
        let (watch_errors, malformed, patches) = (Family::default(), Family::default(), Family::default());
        let (status_queue, nodes, pointer_moves) = (Gauge::default(), Family::default(), Counter::default());
        registry.register("reconciles", "Reconciles, by controller", Family::clone(&reconciles));
        registry.register("reconcile_errors", "Reconciles that failed, by reason", Family::clone(&errors));
        registry.register("reconcile_duration_seconds", "Time of a reconcile", Family::clone(&durations));
        registry.register("watch_errors", "Watches that broke and were begun again", Family::clone(&watch_errors));
        registry.register("malformed_objects", "Objects that could not be read", Family::clone(&malformed));
        registry.register("status_patches", "Patches of user status, by result", Family::clone(&patches));
        registry.register("status_queue", "Statuses that wait to be written", Gauge::clone(&status_queue));
        registry.register("nodes", "Nodes of the stack, by state", Family::clone(&nodes));
        registry.register(
            "pointer_moves",
            "NodeRuntimes that were pointed at a profile",
            Counter::clone(&pointer_moves),
        );
        Self {
            registry,
            reconciles,
            errors,
            durations,
            watch_errors,
            malformed,
            patches,
            status_queue,
            nodes,
            pointer_moves,
        }
    }

    pub(crate) fn reconciled(&self, controller: &'static str, took: Duration, error: Option<&'static str>) {
        self.reconciles.get_or_create(&OfController { controller }).inc();
        self.durations.get_or_create(&OfController { controller }).observe(took.as_secs_f64());
        if let Some(reason) = error {
            self.errors.get_or_create(&OfError { controller, reason }).inc();
        }
    }

    pub(crate) fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&OfKind { kind }).inc();
    }

    pub(crate) fn malformed(&self, kind: &'static str) {
        self.malformed.get_or_create(&OfKind { kind }).inc();
    }

    pub(crate) fn patched(&self, result: Patched) {
        let result = match result {
            Patched::Ok => "ok",
            Patched::Error => "error",
            Patched::Gone => "gone",
        };
        self.patches.get_or_create(&OfResult { result }).inc();
    }

    pub(crate) fn status_queue(&self, waiting: usize) {
        self.status_queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    pub(crate) fn pointed(&self, nodes: usize) {
        self.pointer_moves.inc_by(nodes as u64);
    }

    pub(crate) fn nodes(&self, counts: &trilobite_crds::NodeCounts) {
        let states = [
            ("desired", counts.desired),
            ("excluded", counts.excluded),
            ("failing", counts.failing),
            ("ready", counts.ready),
            ("updated", counts.updated),
        ];
        for (state, count) in states {
            self.nodes.get_or_create(&OfState { state }).set(count.into());
        }
    }

    /// In the OpenMetrics text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_counted_by_its_reason() {
        let metrics = Metrics::new();
        metrics.reconciled("stack", Duration::from_millis(3), Some("ApplyDaemonSet"));
        let text = metrics.text().unwrap();
        assert!(
            text.contains(r#"trilobite_operator_reconcile_errors_total{controller="stack",reason="ApplyDaemonSet"} 1"#)
        );
    }
}
