//! What the security layer says, before any client's format.

use std::sync::Arc;

use jiff::Timestamp;

use crate::identity::Located;

/// The flag word of a process of which nothing but its key is known: the record of its exec was lost.
pub const UNKNOWN: &str = "unknown";

/// One event, with everything that a client's format may show.
#[derive(Clone, Debug, PartialEq)]
pub struct SecurityEvent {
    /// Wall clock, from the kernel's boot clock.
    pub time: Timestamp,
    /// The process that did it.
    pub process: Located,
    /// Its parent, where known.
    pub parent: Option<Located>,
    /// What happened.
    pub kind: SecurityEventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum SecurityEventKind {
    /// A process image was replaced.
    Exec,
    /// A process (all its threads) ended.
    Exit {
        /// Exit status, 0..=255.
        status: u32,
        /// Number of the signal that ended it, 0 for none.
        signal: u32,
    },
    /// A tracepoint of a policy was passed.
    Tracepoint {
        /// The thread that passed it, in the initial pid namespace.
        tid: u32,
        /// Name of the policy.
        policy: Arc<str>,
        /// Its namespace; empty for a cluster-wide one.
        policy_namespace: Arc<str>,
        /// As the policy names it.
        subsystem: Arc<str>,
        /// As the policy names it.
        event: Arc<str>,
        /// As the policy words it.
        message: Arc<str>,
        /// As the policy words them.
        tags: Arc<[String]>,
        /// In the policy's order, with the policy's labels.
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
    /// syscall_id, with `x64` or `i386`
    Syscall {
        /// Number.
        id: u32,
        /// ABI.
        abi: &'static str,
    },
}
