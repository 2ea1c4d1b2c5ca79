//! Security: exec and exit of processes, and the tracepoints of policies.

pub mod args;
mod decode;
pub mod deliver;
mod enrich;
pub mod event;
pub mod event_bus;
mod layer;
mod policy;
mod programs;
mod subscription;

pub use crate::identity::UNKNOWN;
pub use event::{ArgValue, SecurityEvent, SecurityEventKind};
pub use layer::Security;
