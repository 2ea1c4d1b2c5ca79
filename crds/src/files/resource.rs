//! A user resource of any kind.

use serde_json::Value;

use crate::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, UserKind, bounds::Violation,
    node::Source, schema,
};

/// A resource that users write.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// The stack.
    Stack(Box<ObservabilityStack>),
    /// A cluster-wide policy.
    Policy(TracingPolicy),
    /// A policy of a namespace.
    NamespacedPolicy(TracingPolicyNamespaced),
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
            Self::Capture(object) => object.source(),
            Self::Profile(object) => object.source(),
        }
    }

    /// The CRD of a kind that users write.
    pub(super) fn crd(kind: &str) -> Option<Value> {
        Some(match kind {
            "ObservabilityStack" => schema::user_crd::<ObservabilityStack>(),
            "TracingPolicy" => schema::user_crd::<TracingPolicy>(),
            "TracingPolicyNamespaced" => schema::user_crd::<TracingPolicyNamespaced>(),
            "FlowCapture" => schema::user_crd::<FlowCapture>(),
            "AppProfile" => schema::user_crd::<AppProfile>(),
            _ => return None,
        })
    }

    /// Reads an object of a kind that `crd` knows, or says everything that is wrong with it.
    pub(super) fn read(kind: &str, crd: &Value, object: &Value) -> Result<Self, Vec<Violation>> {
        Ok(match kind {
            "ObservabilityStack" => Self::Stack(Box::new(schema::read(crd, object, None)?)),
            "TracingPolicy" => Self::Policy(schema::read(crd, object, None)?),
            "TracingPolicyNamespaced" => Self::NamespacedPolicy(schema::read(crd, object, None)?),
            "FlowCapture" => Self::Capture(schema::read(crd, object, None)?),
            _ => Self::Profile(schema::read(crd, object, None)?),
        })
    }
}
