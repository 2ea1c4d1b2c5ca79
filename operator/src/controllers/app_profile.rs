//! AppProfile as a time-limited kind; `time_limited` has its phases.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use trilobite_crds::{AppProfile, ObservabilityStack, Refusal, node::Session, selector::Labels, session_for_profile};

use super::time_limited::TimeLimited;

impl TimeLimited for AppProfile {
    fn pod_selector(&self) -> &LabelSelector {
        &self.spec.pod_selector
    }

    fn ttl_seconds_after_finished(&self) -> Option<i32> {
        self.spec.ttl_seconds_after_finished
    }

    fn session(
        &self,
        stack: &ObservabilityStack,
        namespace_labels: &Labels,
        started_at: Timestamp,
    ) -> Result<Session, Refusal> {
        session_for_profile(self, stack, namespace_labels, started_at)
    }
}
