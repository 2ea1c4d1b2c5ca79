//! Values that hooks read, one variant for each member of Tetragon's KprobeArgument. Numbers stay as the kernel has them;
//! names such as AF_INET are given when an event is printed.

use std::net::IpAddr;

use crate::identity::{Credentials, UserNamespace};

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
    /// bytes_arg, or truncated_bytes_arg where `size` is more than there is.
    Bytes {
        bytes: Vec<u8>,
        /// Size of the buffer of the call.
        size: u64,
    },
    /// syscall_id
    Syscall {
        id: u32,
        /// `x64` or `i386`
        abi: &'static str,
    },
    /// file_arg
    File(FileValue),
    /// path_arg
    Path(FileValue),
    /// linux_binprm_arg
    Binprm(FileValue),
    /// sock_arg
    Sock(Box<SockValue>),
    /// skb_arg
    Skb(Box<SkbValue>),
    /// sockaddr_arg
    Sockaddr { family: u16, address: Option<IpAddr>, port: u16 },
    /// sockaddrun_arg; the path of an abstract address begins with `@`.
    SockaddrUn { family: u16, path: String },
    /// process_credentials_arg
    Credentials {
        credentials: Box<Credentials>,
        /// Inode of the user namespace; 0 where unknown.
        user_namespace: u32,
    },
    /// user_ns_arg
    UserNamespace {
        namespace: UserNamespace,
        /// Its inode; 0 where unknown.
        inode: u32,
    },
    /// capability_arg
    Capability(i32),
    /// kernel_cap_t_arg and the three members for the sets of a process.
    Capabilities(CapabilitySet, u64),
    /// module_arg
    Module {
        name: String,
        /// None where the kernel's struct does not say it.
        signature_ok: Option<bool>,
        taints: u64,
    },
    /// bpf_attr_arg
    BpfAttr(BpfProgramValue),
    /// bpf_prog_arg
    BpfProgram(BpfProgramValue),
    /// bpf_map_arg
    BpfMap(Box<BpfMapValue>),
    /// bpf_cmd_arg
    BpfCommand(i32),
    /// perf_event_arg
    PerfEvent(Box<PerfEventValue>),
    /// error_arg: why the kernel could not read the value.
    Unreadable(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileValue {
    pub path: String,
    /// The path lacks its first components: it was too deep or too long to be walked, or its mount is not reachable.
    pub is_cut: bool,
    /// The file has no name any more.
    pub is_unlinked: bool,
    /// `st_mode`
    pub mode: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SockValue {
    pub family: u16,
    pub r#type: u16,
    pub protocol: u16,
    pub state: u8,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub source_port: u16,
    pub destination_port: u16,
    pub cookie: u64,
    pub mark: u32,
    pub priority: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkbValue {
    pub family: u16,
    pub protocol: u16,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub source_port: u16,
    pub destination_port: u16,
    pub hash: u32,
    pub length: u32,
    pub mark: u32,
    pub priority: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilitySet {
    /// `kernel_cap_t` of a hook's argument.
    Any,
    Inheritable,
    Permitted,
    Effective,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfProgramValue {
    pub r#type: u32,
    pub instructions: u32,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfMapValue {
    pub r#type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfEventValue {
    pub r#type: u32,
    pub function: String,
    pub config: u64,
    pub probe_offset: u64,
}
