//! Messages as lines for a terminal.

pub mod clock;
pub mod flow;
pub mod paint;
pub mod request;
