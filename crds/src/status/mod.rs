//! The status of user resources.

mod foreign_policy;
mod requests;
mod resource;
mod stack;
mod time_limited;

pub use foreign_policy::{ForeignPolicyStatus, MAX_FOREIGN_POLICIES};
pub use requests::{InvisibleTls, ProtocolRowCount, RequestsStatus};
pub use resource::{Failure, MAX_FAILURES, MAX_SUMMARY, NodeCounts, ResourceStatus};
pub use stack::ObservabilityStackStatus;
pub use time_limited::{AppProfileStatus, FlowCaptureStatus, ProfileResults};
