//! One controller per user kind, and the one for the namespace label. Each runs the same phases, a file each:
//! dereference -> validate -> build -> apply -> update_status.

pub(crate) mod app_profile;
pub(crate) mod certificate;
mod error_chain;
pub(crate) mod flow_capture;
pub(crate) mod namespace_label;
mod phase;
pub(crate) mod runner;
pub(crate) mod stack;
mod status_input;
pub(crate) mod time_limited;
pub(crate) mod tracing_policy;
