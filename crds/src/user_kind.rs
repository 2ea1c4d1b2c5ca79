//! What the kinds of user resources share, so that status is computed and written in one place.

use kube::{Resource, ResourceExt};

use crate::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, ResourceStatus,
    TracingPolicy, TracingPolicyNamespaced,
    node::{Source, SourceKind},
};

/// A kind that users write.
pub trait UserKind: Resource<DynamicType = ()> + Sized {
    /// The kind in a `Source`.
    const SOURCE_KIND: SourceKind;

    /// The part of the status that every kind has; none before the first reconciliation.
    fn common_status(&self) -> Option<&ResourceStatus>;

    /// The reference by which a node's report is mapped back to this object. The generation is 1 without an API server.
    fn source(&self) -> Source {
        Source {
            kind: Self::SOURCE_KIND,
            namespace: Self::SOURCE_KIND.is_namespaced().then(|| self.namespace().unwrap_or_else(|| "default".into())),
            name: self.name_any(),
            generation: self.meta().generation.unwrap_or(1),
        }
    }
}

impl UserKind for ObservabilityStack {
    const SOURCE_KIND: SourceKind = SourceKind::ObservabilityStack;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.common)
    }
}

impl UserKind for TracingPolicy {
    const SOURCE_KIND: SourceKind = SourceKind::TracingPolicy;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref()
    }
}

impl UserKind for TracingPolicyNamespaced {
    const SOURCE_KIND: SourceKind = SourceKind::TracingPolicyNamespaced;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref()
    }
}

impl UserKind for CiliumTracingPolicy {
    const SOURCE_KIND: SourceKind = SourceKind::CiliumTracingPolicy;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref()
    }
}

impl UserKind for CiliumTracingPolicyNamespaced {
    const SOURCE_KIND: SourceKind = SourceKind::CiliumTracingPolicyNamespaced;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref()
    }
}

impl UserKind for FlowCapture {
    const SOURCE_KIND: SourceKind = SourceKind::FlowCapture;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.common)
    }
}

impl UserKind for AppProfile {
    const SOURCE_KIND: SourceKind = SourceKind::AppProfile;

    fn common_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.common)
    }
}
