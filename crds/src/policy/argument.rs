//! Arguments and data of a hook: what is read, from where, and as which type.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::Validate;

use super::word::{self, Word, vocabulary};

/// Highest index of an argument of a function.
pub const MAX_ARGUMENT_INDEX: i32 = 5;

/// One value that a hook reads.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Number of the function's argument, or of the field in a trace record, from 0, e.g. 1.
    #[serde(default)]
    #[validate(range(min = 0, max = 127))]
    pub index: i32,
    /// How the value is read, e.g. `string`; docs/which-policies-work.md lists the types.
    #[serde(default, deserialize_with = "word::default_if_empty")]
    pub r#type: Word<ArgumentType>,
    /// A field inside the argument, e.g. `mm.owner.real_parent.comm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 512))]
    pub resolve: String,
    /// Number of the argument that has the buffer's size, from 1; 0 means none.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = 0, max = 128))]
    pub size_arg_index: i32,
    /// Reads the buffer when the function returns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub return_copy: bool,
    /// Reads up to 327360 bytes of a buffer, not 4096.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub max_data: bool,
    /// A name that the event shows beside the value, e.g. `pid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 128))]
    pub label: String,
    /// Where the value is read from, where not from the arguments: `current_task` or `pt_regs`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "word::unset_if_empty")]
    pub source: Option<Word<ArgumentSource>>,
    /// The kernel type at which `resolve` begins, e.g. `task_struct`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 128))]
    pub btf_type: String,
    /// The kernel module that has `btfType`, e.g. `nf_tables`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 64))]
    pub btf_type_module: String,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

vocabulary! {
    /// Where a value comes from.
    ArgumentSource {
        /// The `task_struct` of the calling thread.
        CurrentTask = "current_task",
        /// The registers at the hook.
        PtRegs = "pt_regs",
    }
}

vocabulary! {
    /// How a value is read.
    #[derive(Default)]
    ArgumentType {
        /// The type that a trace record's format names.
        #[default]
        Auto = "auto",
        /// 32 bits, signed.
        Int = "int",
        /// 8 bits, signed.
        Sint8 = "sint8",
        /// 8 bits, signed.
        Int8 = "int8",
        /// 8 bits, unsigned.
        Uint8 = "uint8",
        /// 16 bits, signed.
        Sint16 = "sint16",
        /// 16 bits, signed.
        Int16 = "int16",
        /// 16 bits, unsigned.
        Uint16 = "uint16",
        /// 32 bits, unsigned.
        Uint32 = "uint32",
        /// 32 bits, signed.
        Sint32 = "sint32",
        /// 32 bits, signed.
        Int32 = "int32",
        /// 64 bits, unsigned.
        Ulong = "ulong" | "unsigned long",
        /// 64 bits, unsigned.
        Uint64 = "uint64",
        /// 64 bits, unsigned.
        SizeT = "size_t",
        /// 64 bits, signed.
        Long = "long",
        /// 64 bits, signed.
        Sint64 = "sint64",
        /// 64 bits, signed.
        Int64 = "int64",
        /// A buffer whose length is in another argument.
        CharBuf = "char_buf",
        /// Buffers whose lengths are beside them.
        CharIovec = "char_iovec",
        /// A packet.
        Skb = "skb",
        /// A kernel socket.
        Sock = "sock",
        /// An address that a program passes.
        Sockaddr = "sockaddr",
        /// A program's socket.
        Socket = "socket",
        /// The address of a UNIX socket.
        SockaddrUn = "sockaddr_un",
        /// Text that ends in a zero byte.
        String = "string",
        /// A file descriptor of the process.
        Fd = "fd",
        /// A `struct file`.
        File = "file",
        /// A `struct filename`.
        Filename = "filename",
        /// A `struct path`.
        Path = "path",
        /// Not read.
        Nop = "nop",
        /// The attributes of a BPF program.
        BpfAttr = "bpf_attr",
        /// A perf event.
        PerfEvent = "perf_event",
        /// A BPF map.
        BpfMap = "bpf_map",
        /// A user namespace.
        UserNamespace = "user_namespace",
        /// Number of a capability.
        Capability = "capability",
        /// An I/O request on a file.
        Kiocb = "kiocb",
        /// The buffers of an I/O request.
        IovIter = "iov_iter",
        /// Credentials.
        Cred = "cred",
        /// A buffer whose length is in its type.
        ConstBuf = "const_buf",
        /// A kernel module while it is being loaded.
        LoadInfo = "load_info",
        /// A kernel module.
        Module = "module",
        /// Number of a system call.
        Syscall64 = "syscall64",
        /// A set of capabilities.
        KernelCapT = "kernel_cap_t",
        /// A set of inheritable capabilities.
        CapInheritable = "cap_inheritable",
        /// A set of permitted capabilities.
        CapPermitted = "cap_permitted",
        /// A set of effective capabilities.
        CapEffective = "cap_effective",
        /// A program that is being executed.
        LinuxBinprm = "linux_binprm",
        /// Text inside a trace record.
        DataLoc = "data_loc",
        /// A network interface.
        NetDevice = "net_device",
        /// Command of the system call bpf.
        BpfCmd = "bpf_cmd",
        /// A directory entry.
        Dentry = "dentry",
        /// A BPF program.
        BpfProg = "bpf_prog",
    }
}

/// Width of a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// 8, 16, 32 or 64.
    pub bits: u32,
    /// Whether it can be negative.
    pub signed: bool,
}

impl Integer {
    /// The least number.
    pub fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// The greatest number.
    pub fn max(self) -> i128 {
        (1 << if self.signed { self.bits - 1 } else { self.bits }) - 1
    }
}

/// What filters can compare a value with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueClass {
    /// Known on the node only.
    Auto,
    /// Numbers.
    Number(Integer),
    /// Text.
    Text,
    /// A path, and the file's type.
    File,
    /// Both ends of a connection.
    Socket,
    /// One address and port.
    SocketAddress,
    /// A path, and the family.
    UnixAddress,
    /// A set of capabilities.
    Capabilities,
    /// Nothing: it can be shown, not compared.
    Opaque,
}

impl ArgumentType {
    /// What filters can compare values of this type with.
    pub fn class(self) -> ValueClass {
        let number = |bits, signed| ValueClass::Number(Integer { bits, signed });
        match self {
            Self::Auto => ValueClass::Auto,
            Self::Sint8 | Self::Int8 => number(8, true),
            Self::Uint8 => number(8, false),
            Self::Sint16 | Self::Int16 => number(16, true),
            Self::Uint16 => number(16, false),
            Self::Int | Self::Sint32 | Self::Int32 => number(32, true),
            Self::Uint32 => number(32, false),
            Self::Long | Self::Sint64 | Self::Int64 | Self::Syscall64 => number(64, true),
            Self::Ulong | Self::Uint64 | Self::SizeT => number(64, false),
            Self::String
            | Self::CharBuf
            | Self::Filename
            | Self::Fd
            | Self::Dentry
            | Self::LinuxBinprm
            | Self::DataLoc
            | Self::NetDevice => ValueClass::Text,
            Self::File | Self::Path => ValueClass::File,
            Self::Sock | Self::Socket | Self::Skb => ValueClass::Socket,
            Self::Sockaddr => ValueClass::SocketAddress,
            Self::SockaddrUn => ValueClass::UnixAddress,
            Self::KernelCapT | Self::CapInheritable | Self::CapPermitted | Self::CapEffective => {
                ValueClass::Capabilities
            }
            Self::CharIovec
            | Self::Nop
            | Self::BpfAttr
            | Self::PerfEvent
            | Self::BpfMap
            | Self::UserNamespace
            | Self::Capability
            | Self::Kiocb
            | Self::IovIter
            | Self::Cred
            | Self::ConstBuf
            | Self::LoadInfo
            | Self::Module
            | Self::BpfCmd
            | Self::BpfProg => ValueClass::Opaque,
        }
    }
}

pub(super) fn is_zero(number: &i32) -> bool {
    *number == 0
}
