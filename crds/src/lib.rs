//! The resource types of `trilobite.dev/v1alpha1`, and the pure planner that turns them into a node's desired state.
//! No client, no clock, no async runtime: operator and agent both call this crate and must agree.

#![warn(missing_docs)]
// KubeSchema copies each struct into the function that makes its schema, where `pub` means nothing.
#![allow(unreachable_pub)]

pub mod app_profile;
pub mod bounds;
pub mod condition;
pub mod files;
pub mod flow_capture;
pub mod hubble_metrics;
pub mod node;
pub mod planner;
pub mod policy;
pub mod read_api;
pub mod reason;
pub mod schema;
pub mod selector;
pub mod stack;
pub mod status;
pub mod user_kind;

pub use app_profile::{AppProfile, AppProfileSpec, CpuSpec, RequestProtocol, RequestRole, RequestsSpec};
pub use bounds::Violation;
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use files::{ParseError, Resource, desired_from_resources, parse_documents};
pub use flow_capture::{CaptureOutput, FlowCapture, FlowCaptureSpec, Protocol};
pub use planner::{
    Inputs, NamespaceClaim, Planned, Refusal, above_namespace_budget, plan, session_for_capture, session_for_profile,
};
pub use policy::{
    CiliumTracingPolicy, CiliumTracingPolicyNamespaced, Tracepoint, TracingPolicy, TracingPolicyNamespaced,
    TracingPolicySpec,
};
pub use reason::Reason;
pub use stack::{Layer, LayerMode, ObservabilityStack, ObservabilityStackSpec};
pub use status::{AppProfileStatus, Failure, FlowCaptureStatus, NodeCounts, ObservabilityStackStatus, ResourceStatus};
pub use user_kind::UserKind;

/// The API group of every kind in this crate.
pub const GROUP: &str = "trilobite.dev";
/// The only served version.
pub const VERSION: &str = "v1alpha1";
/// The only name that an ObservabilityStack may have.
pub const STACK_NAME: &str = "default";
