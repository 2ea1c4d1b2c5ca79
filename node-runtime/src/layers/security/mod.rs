//! Security: exec and exit of processes, and the tracepoints of policies.

mod decode;
pub mod deliver;
mod enrich;
pub mod event;
pub mod event_bus;
mod layer;
mod policy;
pub mod policy_report;
mod subscription;

pub use crate::identity::UNKNOWN;
pub use event::{Arg, ArgValue, HookEvent, SecurityEvent, SecurityEventKind};
pub use layer::Security;
