//! Events of the security layer, before they are converted to the format of a client.

use std::sync::Arc;

use jiff::Timestamp;

use crate::identity::Located;

/// One event, with everything that a client's format may show.
#[derive(Clone, Debug, PartialEq)]
pub struct SecurityEvent {
    /// Wall clock, computed from the kernel's boot clock.
    pub time: Timestamp,
    pub process: Located,
    /// None where the parent is unknown.
    pub parent: Option<Located>,
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
    /// A process hit a tracepoint of a policy.
    Tracepoint {
        /// The thread, in the initial pid namespace.
        tid: u32,
        /// Name of the policy.
        policy: Arc<str>,
        /// Namespace of the policy; empty for a cluster-wide one.
        policy_namespace: Arc<str>,
        subsystem: Arc<str>,
        event: Arc<str>,
        message: Arc<str>,
        tags: Arc<[String]>,
        /// Values with the policy's labels, in the policy's order.
        args: Vec<(ArgValue, Option<Arc<str>>)>,
    },
}

/// A value read at a hook, as the member of Tetragon's KprobeArgument that it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgValue {
    /// int_arg
    Int(i32),
    /// uint_arg
    Uint(u32),
    /// long_arg
    Long(i64),
    /// size_arg
    Size(u64),
    /// string_arg
    String(String),
    /// syscall_id
    Syscall {
        id: u32,
        /// `x64` or `i386`
        abi: &'static str,
    },
    /// error_arg: why the kernel could not read the value.
    Unreadable(String),
}
