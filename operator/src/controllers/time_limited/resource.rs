//! `TimeLimited`: a kind whose objects end by themselves.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use trilobite_crds::{ObservabilityStack, Refusal, node::Session, selector::Labels};

use crate::status::UserResource;

pub(crate) trait TimeLimited: UserResource + Clone {
    /// Selects pods in the resource's namespace.
    fn pod_selector(&self) -> &LabelSelector;
    /// How long the object is kept after it has completed; none keeps it.
    fn ttl_seconds_after_finished(&self) -> Option<i32>;
    /// The session for nodes, if the stack and the spec allow it. `namespace_labels` are those of the resource's namespace.
    fn session(
        &self,
        stack: &ObservabilityStack,
        namespace_labels: &Labels,
        started_at: Timestamp,
    ) -> Result<Session, Refusal>;
}
