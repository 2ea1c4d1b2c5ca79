//! Security: which process ran, exited, or passed a tracepoint of a policy.

pub mod bus;
pub mod event;

pub use event::{ArgValue, SecurityEvent, SecurityEventKind};
