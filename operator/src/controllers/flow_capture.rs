//! FlowCapture as a time-limited kind; `time_limited` has its phases.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use trilobite_crds::{FlowCapture, ObservabilityStack, Refusal, node::Session, selector::Labels, session_for_capture};

use super::time_limited::TimeLimited;

impl TimeLimited for FlowCapture {
    fn pod_selector(&self) -> &LabelSelector {
        &self.spec.pod_selector
    }

    fn ttl_seconds_after_finished(&self) -> Option<i32> {
        self.spec.ttl_seconds_after_finished
    }

    fn session(
        &self,
        stack: &ObservabilityStack,
        _namespace_labels: &Labels,
        started_at: Timestamp,
    ) -> Result<Session, Refusal> {
        session_for_capture(self, stack, started_at)
    }
}
