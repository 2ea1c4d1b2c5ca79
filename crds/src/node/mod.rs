//! What passes between the operator and an agent: immutable parts, the profile that lists them, and the node's own object.

pub mod container_selector;
pub mod desired;
pub mod part;
mod policy_nodes;
pub mod profile;
pub(crate) mod requests_state;
pub mod runtime;
pub mod scope;
pub mod session;

pub use container_selector::{CONTAINER_NAME, CONTAINER_REPO, matches_container};
pub use desired::{ApplicationSettings, Desired, ExportPlan, FileExport, NetworkSettings};
pub use part::{
    ArgType, FlowsPart, PartContent, PolicyPart, ProcessesPart, ProfilePart, ProfilePartSpec, TracepointArg,
    TracepointHook, TracepointsPart,
};
pub use profile::{NodeProfile, NodeProfileSpec, PartRef};
pub use requests_state::{
    MAX_OTHER_PROTOCOLS, MAX_PROTOCOLS, MAX_TLS_NOT_VISIBLE, ProtocolRows, RequestsState, TlsNotVisible,
};
pub use runtime::{
    KernelFacts, MAX_SESSIONS, NodeProblem, NodeRuntime, NodeRuntimeSpec, NodeRuntimeStatus, PodsSelected, ProfileRef,
    SessionState, SessionStatus, SourceLoss,
};
pub use scope::{PodScope, Source, SourceKind, WorkloadScope};
pub use session::{
    AppProfileSession, CpuProfileSession, CpuSampling, FlowOutput, FlowsSession, RESULT_WITHIN, RequestsSession,
    STANDING_PROFILE, Session, SessionContent,
};
