//! `UserStatus`: the status of any user kind, as it is written.

use jiff::Timestamp;
use serde::Serialize;
use trilobite_crds::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, ResourceStatus,
    TracingPolicy, TracingPolicyNamespaced, UserKind,
    stack::{Layer, LayerMode},
    status::{ForeignPolicyStatus, ProfileResults, RequestsStatus},
};

/// The common part, and the fields that only some kinds have.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserStatus {
    #[serde(flatten)]
    pub(crate) common: ResourceStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
    /// Of the stack only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) foreign_policies: Vec<ForeignPolicyStatus>,
    /// Of the stack only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_at: Option<Timestamp>,
    /// Of AppProfiles that ask for requests, and of a stack with a standing profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<RequestsStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results: Option<ProfileResults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<Timestamp>,
}

/// A kind whose status the operator writes.
pub(crate) trait UserResource: UserKind {
    fn user_status(&self) -> UserStatus {
        UserStatus { common: self.common_status().cloned().unwrap_or_default(), ..UserStatus::default() }
    }

    /// Whether the spec asks for requests.
    fn asks_for_requests(&self) -> bool {
        false
    }
}

impl UserResource for ObservabilityStack {
    fn user_status(&self) -> UserStatus {
        let status = self.status.clone().unwrap_or_default();
        UserStatus {
            common: status.common,
            foreign_policies: status.foreign_policies,
            observed_at: status.observed_at,
            requests: status.requests,
            ..UserStatus::default()
        }
    }

    fn asks_for_requests(&self) -> bool {
        self.spec.layer(Layer::Application).mode == LayerMode::Enabled
    }
}

impl UserResource for TracingPolicy {}
impl UserResource for TracingPolicyNamespaced {}
impl UserResource for CiliumTracingPolicy {}
impl UserResource for CiliumTracingPolicyNamespaced {}

impl UserResource for FlowCapture {
    fn user_status(&self) -> UserStatus {
        let status = self.status.clone().unwrap_or_default();
        UserStatus {
            common: status.common,
            expires_at: status.expires_at,
            started_at: status.started_at,
            ..UserStatus::default()
        }
    }
}

impl UserResource for AppProfile {
    fn user_status(&self) -> UserStatus {
        let status = self.status.clone().unwrap_or_default();
        UserStatus {
            common: status.common,
            expires_at: status.expires_at,
            requests: status.requests,
            results: status.results,
            started_at: status.started_at,
            ..UserStatus::default()
        }
    }

    fn asks_for_requests(&self) -> bool {
        self.spec.requests.is_some()
    }
}
