//! Resources from files, for an agent without a cluster: judged by the same schemas and planned by the same planner.

mod desired;
mod parse;

use serde_json::Value;

pub use desired::desired_from_resources;
pub use parse::{ParseError, parse_documents};

use crate::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, UserKind, node::Source, schema,
};

/// A resource that people write.
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

    /// The CRD of a kind that people write.
    fn crd(kind: &str) -> Option<Value> {
        Some(match kind {
            "ObservabilityStack" => schema::user_crd::<ObservabilityStack>(),
            "TracingPolicy" => schema::user_crd::<TracingPolicy>(),
            "TracingPolicyNamespaced" => schema::user_crd::<TracingPolicyNamespaced>(),
            "FlowCapture" => schema::user_crd::<FlowCapture>(),
            "AppProfile" => schema::user_crd::<AppProfile>(),
            _ => return None,
        })
    }

    fn read(kind: &str, object: Value) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            "ObservabilityStack" => Self::Stack(serde_json::from_value(object)?),
            "TracingPolicy" => Self::Policy(serde_json::from_value(object)?),
            "TracingPolicyNamespaced" => Self::NamespacedPolicy(serde_json::from_value(object)?),
            "FlowCapture" => Self::Capture(serde_json::from_value(object)?),
            _ => Self::Profile(serde_json::from_value(object)?),
        })
    }
}
