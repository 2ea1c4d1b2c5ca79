//! What passes between the operator and an agent: immutable parts, the profile that lists them, and the node's own object.

pub mod container_selector;
pub mod desired;
pub mod part;
mod policy_nodes;
pub mod profile;
pub mod runtime;
pub mod scope;
pub mod session;

pub use container_selector::{CONTAINER_NAME, CONTAINER_REPO, matches_container};
pub use desired::{Desired, ExportPlan, FileExport};
pub use part::{
    ArgType, FlowsPart, PartContent, PolicyPart, ProcessesPart, ProfilePart, ProfilePartSpec, TracepointArg,
    TracepointHook, TracepointsPart,
};
pub use profile::{NodeProfile, NodeProfileSpec, PartRef};
pub use runtime::{
    KernelFacts, NodeProblem, NodeRuntime, NodeRuntimeSpec, NodeRuntimeStatus, PodsSelected, ProfileRef, SessionState,
    SessionStatus, SourceLoss,
};
pub use scope::{PodScope, Source, SourceKind, WorkloadScope};
pub use session::{CpuProfileSession, FlowOutput, FlowsSession, RESULT_WITHIN, Session, SessionContent};
