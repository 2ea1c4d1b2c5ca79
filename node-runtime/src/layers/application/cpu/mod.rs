//! CPU profiles: a sampler in the kernel and a worker for each, and stored results.

pub mod deliver;
mod driver;
mod enrich;
mod incoming_result;
pub(super) mod layer;
mod loss_accounting;
mod pod_labels;
pub mod profiles;
pub mod programs;
mod sent_mappings;
pub mod session;
pub mod spec;

pub use deliver::{ProfileCounts, ProfileMeta, Results};
pub use profiles::Profiles;
pub use session::Session;
pub use spec::{ProfileTarget, ProfiledPod, SessionSpec, SessionStatus};
