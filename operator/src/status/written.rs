//! A status as it is written: the common part and what bounded kinds have besides, for all five kinds alike.

use jiff::Timestamp;
use serde::Serialize;
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, ResourceStatus, TracingPolicy, TracingPolicyNamespaced, UserKind,
    status::ProfileResults,
};

/// The status of any user kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    #[serde(flatten)]
    pub(crate) common: ResourceStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results: Option<ProfileResults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<Timestamp>,
}

/// A kind whose status the operator writes.
pub(crate) trait Reported: UserKind {
    fn written(&self) -> Written {
        Written { common: self.common_status().cloned().unwrap_or_default(), ..Written::default() }
    }
}

impl Reported for ObservabilityStack {}
impl Reported for TracingPolicy {}
impl Reported for TracingPolicyNamespaced {}

impl Reported for FlowCapture {
    fn written(&self) -> Written {
        let status = self.status.clone().unwrap_or_default();
        Written { common: status.common, expires_at: status.expires_at, results: None, started_at: status.started_at }
    }
}

impl Reported for AppProfile {
    fn written(&self) -> Written {
        let status = self.status.clone().unwrap_or_default();
        Written {
            common: status.common,
            expires_at: status.expires_at,
            results: status.results,
            started_at: status.started_at,
        }
    }
}
