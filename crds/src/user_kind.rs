//! What the kinds of user resources share, so that status is computed and written in one place.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, ResourceStatus,
    TracingPolicy, TracingPolicyNamespaced,
    node::{Source, SourceKind},
};

/// Annotation of a policy that nodes check, and of which they load nothing. Its value is `true`.
pub const DRY_RUN_ANNOTATION: &str = "trilobite.dev/dry-run";

/// Whether an object has the annotation of a dry run.
pub fn is_dry_run(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(DRY_RUN_ANNOTATION)).is_some_and(|value| value == "true")
}

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
