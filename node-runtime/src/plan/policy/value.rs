//! A value that a hook reads: from where, by which steps, as what. A value is read once a call, and only when a live selector
//! needs it or a record is made.

use std::fmt;

/// The most values of one hook, of all policies together.
pub const MAX_VALUES: usize = 16;
/// The most steps from the source to the value, as in Tetragon.
pub const MAX_STEPS: usize = 10;

/// One value of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePlan {
    pub source: ValueSource,
    /// The way from the source's number, a pointer, to the value.
    pub steps: Vec<Step>,
    pub kind: ValueKind,
    /// Bytes that are loaded of a number at the address where the last step ends: 1, 2, 4 or 8. 0: the source's number itself.
    pub load: u8,
    /// The most bytes that are read of text or of a buffer; 0 for kinds of a fixed size.
    pub bound: u32,
    /// For `Buffer` and `Iovec`: index of the value that says how many bytes (iovecs) there are.
    pub size_from: Option<u8>,
    /// Read when the function returns, since it is the return value or its content comes into being in the call (`returnCopy`).
    pub at_return: bool,
    /// A dimension asks for it; otherwise it is read for records alone.
    pub is_filtered: bool,
    /// Records carry it; a value that only decides, or only gives a size, is left out of them.
    pub is_emitted: bool,
}

/// Where a value begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueSource {
    /// Argument of the function or of the raw tracepoint, from 0. Of a system call's function: the user's argument.
    Argument(u8),
    /// The function's return value.
    Return,
    /// The current `struct task_struct *`.
    CurrentTask,
    /// Eight bytes at this offset of the `struct pt_regs` of the task's entry into the kernel.
    PtRegs(u16),
    /// So many bytes (1, 2, 4 or 8) at an offset of the trace record; of `DataLoc` and `RelLoc`: 4, of `Inline`: the field's size.
    Record { offset: u16, bytes: u16 },
}

/// `address = value + offset`, then, where `dereference` is set, `value = *(u64 *)address`, otherwise `value = address`.
/// A number with steps is loaded from the address where the last one ends; see `ValuePlan::load`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    pub offset: u32,
    pub dereference: bool,
}

/// What a value is, once the steps are done. What has its content behind one more pointer is reached by steps instead
/// of having a kind: a `struct filename` is `String` at `name`, a `struct kiocb` is `File` at `ki_filp`, a `struct socket` is
/// `Sock` at `sk`, a `struct linux_binprm` is `File` at `file`, a `struct net_device` is `String` at `name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueKind {
    /// An integer of 1, 2, 4 or 8 bytes, extended to 64 bits by its sign.
    Number { bytes: u8, signed: bool },
    /// The number of a system call, with its ABI.
    Syscall,
    /// A string behind a pointer, in the user's memory or the kernel's: user space is tried first for system calls.
    String,
    /// A string inside the trace record.
    Inline,
    /// A string inside the trace record, at an offset that the record contains.
    DataLoc,
    /// As `DataLoc`, counted from behind itself.
    RelLoc,
    /// Bytes behind a pointer, as many as `size_from` says.
    Buffer,
    /// An array of `struct iovec`, as many as `size_from` says.
    Iovec,
    /// A `struct iov_iter *`.
    IovIter,
    /// A `struct file *`: its path from the task's root, its mode and its flags.
    File,
    /// A `struct path *`.
    Path,
    /// A `struct dentry *`: the path within its file system.
    Dentry,
    /// A number of the task's table of files.
    Fd,
    /// A `struct sock *`.
    Sock,
    /// A `struct sk_buff *`.
    Skb,
    /// A `struct sockaddr *` of the user or the kernel.
    Sockaddr,
    /// A `struct sockaddr_un *`.
    SockaddrUnix,
    /// A `struct cred *`.
    Credentials,
    /// A `kernel_cap_t` by pointer: 64 bits.
    CapabilitySet,
    /// A `struct user_namespace *`.
    UserNamespace,
    /// A `struct module *`.
    Module,
    /// A `union bpf_attr *` of BPF_PROG_LOAD.
    BpfAttr,
    /// A `struct bpf_map *`.
    BpfMap,
    /// A `struct bpf_prog *`.
    BpfProg,
    /// A `struct perf_event *`.
    PerfEvent,
    /// Nothing is read: Tetragon's `nop`, which keeps its place in the list of arguments.
    Nothing,
}

impl ValuePlan {
    /// Whether both are the same value, read in the same way; how much of it, and for whom, may differ.
    pub fn is_same_reading(&self, other: &Self) -> bool {
        self.source == other.source
            && self.steps == other.steps
            && self.kind == other.kind
            && self.load == other.load
            && self.size_from == other.size_from
            && self.at_return == other.at_return
    }

    /// Keeps the value's number, and reads nothing.
    pub fn omit(&mut self) {
        *self = Self {
            source: ValueSource::Argument(0),
            steps: Vec::new(),
            kind: ValueKind::Nothing,
            load: 0,
            bound: 0,
            size_from: None,
            at_return: false,
            is_filtered: false,
            is_emitted: false,
        };
    }

    /// Reads as much as either of both needs.
    pub fn join(&mut self, other: &Self) {
        self.bound = self.bound.max(other.bound);
        self.is_filtered |= other.is_filtered;
        self.is_emitted |= other.is_emitted;
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(index) => write!(f, "argument {index}"),
            Self::Return => f.write_str("return value"),
            Self::CurrentTask => f.write_str("current task"),
            Self::PtRegs(offset) => write!(f, "pt_regs+{offset}"),
            Self::Record { offset, bytes } => write!(f, "record+{offset} ({bytes} bytes)"),
        }
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Number { bytes, signed } => {
                return write!(f, "{}{}", if *signed { "s" } else { "u" }, u16::from(*bytes) * 8);
            }
            Self::Syscall => "system call",
            Self::String => "string",
            Self::Inline => "inline string",
            Self::DataLoc => "data_loc string",
            Self::RelLoc => "rel_loc string",
            Self::Buffer => "buffer",
            Self::Iovec => "iovec",
            Self::IovIter => "iov_iter",
            Self::File => "file",
            Self::Path => "path",
            Self::Dentry => "dentry",
            Self::Fd => "fd",
            Self::Sock => "sock",
            Self::Skb => "skb",
            Self::Sockaddr => "sockaddr",
            Self::SockaddrUnix => "sockaddr_un",
            Self::Credentials => "credentials",
            Self::CapabilitySet => "capability set",
            Self::UserNamespace => "user namespace",
            Self::Module => "module",
            Self::BpfAttr => "bpf_attr",
            Self::BpfMap => "bpf_map",
            Self::BpfProg => "bpf_prog",
            Self::PerfEvent => "perf_event",
            Self::Nothing => "nothing",
        };
        f.write_str(name)
    }
}
