//! Messages as lines for a terminal.

pub mod clock;
pub mod flat_flow;
pub mod flow;
mod flow_event;
pub mod paint;
pub mod request;
