//! Application: where the selected pods spend their CPU time, for a limited time.

mod budget;
pub mod cpu;
mod layer;
mod made_code;
mod mapped_code;
mod process_inspector;
mod worker_process;
pub mod worker_program;

pub use cpu::{
    Membership, ProfileCounts, ProfileMeta, ProfileTarget, ProfiledPod, Profiles, Results, Session, SessionSpec,
    SessionStatus,
};
pub use layer::Application;
pub use worker_program::WorkerProgram;
