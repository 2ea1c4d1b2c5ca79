//! Metrics of the operator itself. Labels are bounded: kinds, reasons and results, never names of objects.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    controller: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchResult {
    Ok,
    Error,
    Gone,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<ControllerLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    durations: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    watch_errors: Family<KindLabels, Counter>,
    malformed: Family<KindLabels, Counter>,
    patches: Family<ResultLabels, Counter>,
    status_queue: Gauge,
    nodes: Family<StateLabels, Gauge>,
    pointer_moves: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("trilobite_operator");
        let (reconciles, errors) = (Family::default(), Family::default());
        let durations: Family<ControllerLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 8)));
        let (watch_errors, malformed, patches) = (Family::default(), Family::default(), Family::default());
        let (status_queue, nodes, pointer_moves) = (Gauge::default(), Family::default(), Counter::default());
        registry.register("reconciles", "Reconciles, by controller", Family::clone(&reconciles));
        registry.register("reconcile_errors", "Reconciles that failed, by reason", Family::clone(&errors));
        registry.register("reconcile_duration_seconds", "Time of a reconcile", Family::clone(&durations));
        registry.register("watch_errors", "Watches that failed and were restarted", Family::clone(&watch_errors));
        registry.register("malformed_objects", "Objects that could not be deserialized", Family::clone(&malformed));
        registry.register("status_patches", "Patches of user status, by result", Family::clone(&patches));
        registry.register("status_queue", "Statuses waiting to be written", Gauge::clone(&status_queue));
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

    pub(crate) fn record_reconcile(&self, controller: &'static str, took: Duration, error: Option<&'static str>) {
        self.reconciles.get_or_create(&ControllerLabels { controller }).inc();
        self.durations.get_or_create(&ControllerLabels { controller }).observe(took.as_secs_f64());
        if let Some(reason) = error {
            self.errors.get_or_create(&ErrorLabels { controller, reason }).inc();
        }
    }

    pub(crate) fn record_watch_error(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn record_malformed(&self, kind: &'static str) {
        self.malformed.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn record_patch(&self, result: PatchResult) {
        let result = match result {
            PatchResult::Ok => "ok",
            PatchResult::Error => "error",
            PatchResult::Gone => "gone",
        };
        self.patches.get_or_create(&ResultLabels { result }).inc();
    }

    pub(crate) fn set_status_queue(&self, waiting: usize) {
        self.status_queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    pub(crate) fn record_pointer_moves(&self, nodes: usize) {
        self.pointer_moves.inc_by(nodes as u64);
    }

    pub(crate) fn set_nodes(&self, counts: &trilobite_crds::NodeCounts) {
        let states = [
            ("desired", counts.desired),
            ("excluded", counts.excluded),
            ("failing", counts.failing),
            ("ready", counts.ready),
            ("updated", counts.updated),
        ];
        for (state, count) in states {
            self.nodes.get_or_create(&StateLabels { state }).set(count.into());
        }
    }

    /// The OpenMetrics text format.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry)?;
        Ok(encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_reason() {
        let metrics = Metrics::new();
        metrics.record_reconcile("stack", Duration::from_millis(3), Some("ApplyDaemonSet"));
        let text = metrics.encode().unwrap();
        assert!(
            text.contains(r#"trilobite_operator_reconcile_errors_total{controller="stack",reason="ApplyDaemonSet"} 1"#)
        );
    }
}
