//! Security: which process ran, exited, or passed a tracepoint of a policy.

pub mod bus;
pub mod emit;
pub mod event;
pub mod held;
mod layer;
pub mod policies;
mod subscription;
pub mod tracepoint;

pub use event::{ArgValue, SecurityEvent, SecurityEventKind, UNKNOWN};
pub use layer::Security;
