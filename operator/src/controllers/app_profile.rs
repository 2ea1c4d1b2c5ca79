//! AppProfile: what makes it one of the bounded kinds; its phases are those of `bounded`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use trilobite_crds::{AppProfile, ObservabilityStack, Refusal, node::Session, session_for_profile};

use super::bounded::Bounded;

impl Bounded for AppProfile {
    fn pod_selector(&self) -> &LabelSelector {
        &self.spec.pod_selector
    }

    fn session(&self, stack: &ObservabilityStack, started_at: Timestamp) -> Result<Session, Refusal> {
        session_for_profile(self, stack, started_at)
    }
}
