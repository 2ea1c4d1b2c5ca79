//! What the five user kinds have in common, so that status is computed and written in one place.

use kube::{Resource, ResourceExt};

use crate::{
    AppProfile, FlowCapture, ObservabilityStack, ResourceStatus, TracingPolicy, TracingPolicyNamespaced,
    node::{Source, SourceKind},
};

/// A kind that people write.
pub trait UserKind: Resource<DynamicType = ()> + Sized {
    /// Which one.
    const SOURCE_KIND: SourceKind;

    /// The common part of its status; none before the first visit.
    fn common_status(&self) -> Option<&ResourceStatus>;

    /// How a node's answer is mapped back to this object. The generation is 1 where there is no API server.
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
        self.status.as_ref()
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
