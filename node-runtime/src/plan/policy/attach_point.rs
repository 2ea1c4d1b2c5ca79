//! Where a hook's program is attached, and the ways to attach it, in the order in which they are tried.

use std::fmt;

/// One place in the kernel. All policies that name it share one program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttachPoint {
    /// The arguments of the kernel's tracepoint function.
    RawTracepoint { event: String },
    /// The trace record, by the offsets of its format.
    Tracepoint { subsystem: String, event: String },
    /// The begin of a function, by its name in kallsyms, e.g. `__x64_sys_openat`.
    FunctionEntry { name: String },
    /// The same function with its return value: one record, made at the return.
    FunctionReturn { name: String },
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttachMethod {
    /// `tp_btf`: the arguments of a raw tracepoint with their types.
    TpBtf,
    /// `raw_tp`.
    RawTp,
    /// A perf event for the tracepoint.
    ClassicTp,
    /// A trampoline at the begin of a function.
    Fentry,
    /// A trampoline at the begin and at the return of a function.
    Fexit,
    /// `kprobe.multi`: many functions with one link (5.18 and later); where a return value is read, `kretprobe.multi` too.
    KprobeMulti,
    /// One kprobe as a perf event.
    Kprobe,
    /// A kprobe that keeps the arguments, and a kretprobe.
    Kretprobe,
}

/// A way that comes before the chosen one, and why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub way: AttachMethod,
    pub why: String,
}

/// The ways to attach a hook. The first that the kernel accepts is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Never empty in a plan.
    pub ways: Vec<AttachMethod>,
    pub passed_over: Vec<PassedOver>,
}

impl AttachPoint {
    /// Name of the function or of the tracepoint's event.
    pub fn name(&self) -> &str {
        match self {
            Self::RawTracepoint { event } | Self::Tracepoint { event, .. } => event,
            Self::FunctionEntry { name } | Self::FunctionReturn { name } => name,
        }
    }

    pub fn is_function(&self) -> bool {
        matches!(self, Self::FunctionEntry { .. } | Self::FunctionReturn { .. })
    }

    /// Whether the return value is there.
    pub fn has_return(&self) -> bool {
        matches!(self, Self::FunctionReturn { .. })
    }
}

impl fmt::Display for AttachPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RawTracepoint { event } => write!(f, "raw tracepoint {event}"),
            Self::Tracepoint { subsystem, event } => write!(f, "tracepoint {subsystem}/{event}"),
            Self::FunctionEntry { name } => write!(f, "function {name}"),
            Self::FunctionReturn { name } => write!(f, "return of function {name}"),
        }
    }
}

impl fmt::Display for AttachMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::ClassicTp => "tracepoint",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::KprobeMulti => "kprobe.multi",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kprobe + kretprobe",
        })
    }
}
