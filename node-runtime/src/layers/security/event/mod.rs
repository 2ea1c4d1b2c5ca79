//! Events of the security layer, before they are converted to the format of a client.

pub mod hook;
pub mod value;

use jiff::Timestamp;
use trilobite_api::tetragon::EventType;

pub use self::{
    hook::{Action, Arg, HookEvent, HookInfo, HookPoint, NotedProcess, SelectorInfo, StackFrame},
    value::ArgValue,
};
use crate::identity::Located;

/// One event, with everything that a client's format may show.
#[derive(Clone, Debug, PartialEq)]
pub struct SecurityEvent {
    /// Wall clock, computed from the kernel's boot clock.
    pub time: Timestamp,
    pub process: Located,
    /// None where the parent is unknown.
    pub parent: Option<Located>,
    /// From the parent's parent up to the first process of the node; what the cache of processes still has.
    pub ancestors: Vec<Located>,
    pub kind: SecurityEventKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SecurityEventKind {
    /// A process image was replaced.
    Exec,
    /// The last thread of a process ended.
    Exit {
        /// Exit status, 0..=255.
        status: u32,
        /// Number of the signal that ended it, 0 for none.
        signal: u32,
    },
    /// A selector of a policy matched a call of its hook.
    Hook(Box<HookEvent>),
}

impl SecurityEventKind {
    /// The type of its events, by Tetragon's names.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::Exec => EventType::ProcessExec,
            Self::Exit { .. } => EventType::ProcessExit,
            Self::Hook(hook) => match &*hook.point {
                HookPoint::Function { .. } => EventType::ProcessKprobe,
                HookPoint::Tracepoint { .. } => EventType::ProcessTracepoint,
            },
        }
    }
}
