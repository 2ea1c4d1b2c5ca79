//! A user resource of any kind.

use std::sync::OnceLock;

use serde_json::Value;

use crate::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, TracingPolicy,
    TracingPolicyNamespaced, UserKind,
    bounds::Violation,
    node::{Source, SourceKind},
    schema,
};

/// The API version of Tetragon's policies.
pub(super) const CILIUM: &str = "cilium.io/v1alpha1";

/// A resource that users write.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// The stack.
    Stack(Box<ObservabilityStack>),
    /// A cluster-wide policy.
    Policy(TracingPolicy),
    /// A policy of a namespace.
    NamespacedPolicy(TracingPolicyNamespaced),
    /// A cluster-wide policy of Tetragon's API group.
    CiliumPolicy(CiliumTracingPolicy),
    /// A policy of a namespace of Tetragon's API group.
    CiliumNamespacedPolicy(CiliumTracingPolicyNamespaced),
    /// A capture of flows.
    Capture(FlowCapture),
    /// A profile.
    Profile(AppProfile),
}

impl Resource {
    /// Kind, namespace and name.
    pub fn source(&self) -> Source {
        match self {
            Self::Stack(object) => object.source(),
            Self::Policy(object) => object.source(),
            Self::NamespacedPolicy(object) => object.source(),
            Self::CiliumPolicy(object) => object.source(),
            Self::CiliumNamespacedPolicy(object) => object.source(),
            Self::Capture(object) => object.source(),
            Self::Profile(object) => object.source(),
        }
    }

    /// The kind that an object says it is of, where users write it.
    pub(super) fn kind(api_version: &str, kind: &str) -> Option<SourceKind> {
        match (api_version, kind) {
            (CILIUM, "TracingPolicy") => Some(SourceKind::CiliumTracingPolicy),
            (CILIUM, "TracingPolicyNamespaced") => Some(SourceKind::CiliumTracingPolicyNamespaced),
            (CILIUM, _) => None,
            (_, "ObservabilityStack") => Some(SourceKind::ObservabilityStack),
            (_, "TracingPolicy") => Some(SourceKind::TracingPolicy),
            (_, "TracingPolicyNamespaced") => Some(SourceKind::TracingPolicyNamespaced),
            (_, "FlowCapture") => Some(SourceKind::FlowCapture),
            (_, "AppProfile") => Some(SourceKind::AppProfile),
            _ => None,
        }
    }

    /// The CRD of a kind that users write. It is made once: a folder may have hundreds of objects.
    pub(super) fn crd(kind: SourceKind) -> &'static Value {
        static CRDS: [OnceLock<Value>; 7] = [const { OnceLock::new() }; 7];
        CRDS[kind as usize].get_or_init(|| match kind {
            SourceKind::ObservabilityStack => schema::user_crd::<ObservabilityStack>(),
            SourceKind::TracingPolicy => schema::user_crd::<TracingPolicy>(),
            SourceKind::TracingPolicyNamespaced => schema::user_crd::<TracingPolicyNamespaced>(),
            SourceKind::CiliumTracingPolicy => schema::user_crd::<CiliumTracingPolicy>(),
            SourceKind::CiliumTracingPolicyNamespaced => schema::user_crd::<CiliumTracingPolicyNamespaced>(),
            SourceKind::FlowCapture => schema::user_crd::<FlowCapture>(),
            SourceKind::AppProfile => schema::user_crd::<AppProfile>(),
        })
    }

    /// Reads an object of a kind with its CRD, or says everything that is wrong with it.
    pub(super) fn read(kind: SourceKind, crd: &Value, object: &Value) -> Result<Self, Vec<Violation>> {
        Ok(match kind {
            SourceKind::ObservabilityStack => Self::Stack(Box::new(schema::read(crd, object, None)?)),
            SourceKind::TracingPolicy => Self::Policy(schema::read(crd, object, None)?),
            SourceKind::TracingPolicyNamespaced => Self::NamespacedPolicy(schema::read(crd, object, None)?),
            SourceKind::CiliumTracingPolicy => Self::CiliumPolicy(schema::read(crd, object, None)?),
            SourceKind::CiliumTracingPolicyNamespaced => Self::CiliumNamespacedPolicy(schema::read(crd, object, None)?),
            SourceKind::FlowCapture => Self::Capture(schema::read(crd, object, None)?),
            SourceKind::AppProfile => Self::Profile(schema::read(crd, object, None)?),
        })
    }
}
