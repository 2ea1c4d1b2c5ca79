//! One call of a hook, as facts: the input of the evaluator. Tests make calls by hand and at random.

use std::net::IpAddr;

use crate::{
    policy::{Action, CapabilitySet, Credential, NamespaceKind},
    selector::Labels,
};

/// One call of a hook.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// The values of the hook's `args`, in their order.
    pub args: Vec<CallValue>,
    /// The values of the hook's `data`, in their order.
    pub data: Vec<CallValue>,
    /// The value of `returnArg`; none while the function has not returned.
    pub returned: Option<CallValue>,
    /// The process that calls.
    pub process: CallingProcess,
    /// On `security_bprm_check`, the names of the file that is executed: its path, and the name that was called.
    pub executed_file: Vec<Vec<u8>>,
}

/// A value that the hook reads.
#[derive(Clone, Debug, PartialEq)]
pub enum CallValue {
    /// The kernel could not read it.
    Unreadable,
    /// A whole number, in the range of its type.
    Number(i128),
    /// Text without its zero byte.
    Text(Vec<u8>),
    /// A file or path.
    File {
        /// The path as the process sees it.
        path: Vec<u8>,
        /// `st_mode`: the type of the file and its permissions.
        mode: u32,
    },
    /// A connection, an address or a packet.
    Socket(CallSocket),
    /// A set of capabilities, a bit each.
    Capabilities(u64),
    /// A value that filters cannot compare.
    Opaque,
}

/// What filters know about a socket, an address or a packet. An unset field does not exist there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallSocket {
    /// Address family, e.g. 2 for AF_INET.
    pub family: Option<u16>,
    /// IP protocol, e.g. 6 for TCP.
    pub protocol: Option<u16>,
    /// TCP state, e.g. 1 for TCP_ESTABLISHED.
    pub state: Option<u8>,
    /// Source address.
    pub saddr: Option<IpAddr>,
    /// Destination address.
    pub daddr: Option<IpAddr>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// Path of a UNIX socket.
    pub path: Option<Vec<u8>>,
}

/// The process that calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallingProcess {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// Process id in the process's own PID namespace; 0 on the host.
    pub namespace_pid: u32,
    /// Path of the program.
    pub binary: Vec<u8>,
    /// Its ancestors, the parent first.
    pub ancestors: Vec<Ancestor>,
    /// Inode numbers of its namespaces now.
    pub namespaces: NamespaceIds,
    /// Those when it was executed.
    pub namespaces_at_exec: NamespaceIds,
    /// Those of the host.
    pub host_namespaces: NamespaceIds,
    /// Its capabilities now.
    pub capabilities: CapabilitySets,
    /// Those when it was executed.
    pub capabilities_at_exec: CapabilitySets,
    /// Its ids now, in the host's user namespace.
    pub credentials: CredentialIds,
    /// Where it runs.
    pub workload: Workload,
}

/// A process above the one that calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ancestor {
    /// Process id in the host's namespace.
    pub pid: u32,
    /// Process id in its own PID namespace; 0 on the host.
    pub namespace_pid: u32,
    /// Path of the program.
    pub binary: Vec<u8>,
}

/// Inode numbers of namespaces, in the order of `NamespaceKind::ALL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceIds(pub [u32; 10]);

impl NamespaceIds {
    /// The inode number of one namespace.
    pub fn id(&self, kind: NamespaceKind) -> u32 {
        self.0[kind as usize]
    }
}

/// Capability sets, a bit for each capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Those that are checked.
    pub effective: u64,
    /// Those that may survive an exec.
    pub inheritable: u64,
    /// Those that may become effective.
    pub permitted: u64,
}

impl CapabilitySets {
    /// One of the sets.
    pub fn set(&self, which: CapabilitySet) -> u64 {
        match which {
            CapabilitySet::Effective => self.effective,
            CapabilitySet::Inheritable => self.inheritable,
            CapabilitySet::Permitted => self.permitted,
        }
    }
}

/// Ids of credentials, in the order of `Credential::ALL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialIds(pub [u32; 9]);

impl CredentialIds {
    /// One of the ids.
    pub fn id(&self, which: Credential) -> u32 {
        self.0[which as usize]
    }
}

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Workload {
    /// Outside any pod.
    #[default]
    Host,
    /// In a container of a pod.
    Container {
        /// Namespace of the pod.
        namespace: String,
        /// Labels of the pod.
        labels: Labels,
        /// Name of the container.
        container: String,
        /// Repository of the container's image, without tag and digest.
        repo: String,
    },
}

/// What a policy does about a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The first selector whose filters on the entry match, with its `matchActions`.
    pub entry: Option<Match>,
    /// Where the hook reads the returned value: the first selector whose filters match at both, with its `return_actions`. The
    /// event is emitted for it, not for `entry`.
    pub at_return: Option<Match>,
}

/// A selector that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Its position among the hook's selectors; 0 where the hook has none.
    pub selector: usize,
    /// Its actions; never empty, as none written means `Post`.
    pub actions: Vec<Action>,
}
