//! Application: where the selected pods spend their CPU time, and the requests that they send and answer.

mod budget;
pub mod cpu;
mod layer;
mod made_code;
mod mapped_code;
pub mod membership;
mod node_budget;
mod process_inspector;
pub mod requests;
mod selected_pods;
mod tls;

pub use cpu::{
    ProfileCounts, ProfileMeta, ProfileTarget, ProfiledPod, Profiles, Results, Session, SessionSpec, SessionStatus,
};
pub use layer::Application;
pub use membership::Membership;
pub use requests::rows::{RequestRows, RowSource, RowsAnswer};
