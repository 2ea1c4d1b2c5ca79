//! The status of user resources.

mod resource;
mod stack;
mod time_limited;

pub use resource::{Failure, MAX_FAILURES, MAX_SUMMARY, NodeCounts, ResourceStatus};
pub use stack::ObservabilityStackStatus;
pub use time_limited::{AppProfileStatus, FlowCaptureStatus, ProfileResults};
