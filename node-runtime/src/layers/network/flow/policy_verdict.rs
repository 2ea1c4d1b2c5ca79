//! What the policies of the cluster say of a connection.

use trilobite_api::flow::DropReason;

use crate::layers::network::tcp_flags::TcpFlags;

/// The policies decided about a new connection.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyVerdict {
    pub action: PolicyAction,
    /// Hubble's number: 0 none, 1 L3-Only, 2 L3-L4, 3 L4-Only, 4 all.
    pub match_type: u32,
    pub policies: Policies,
    /// Why it is denied; unknown if it is not.
    pub reason: DropReason,
    /// TCP flags of the connection's first packet.
    pub flags: TcpFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyAction {
    Allowed,
    Denied,
    /// The policies deny it, and the packet passed: nothing enforces them.
    Audit,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    pub allowed_by: Vec<PolicyName>,
    /// With the policies that isolate a pod, where nothing allows the connection.
    pub denied_by: Vec<PolicyName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName {
    pub name: String,
    /// Empty for a policy of the whole cluster.
    pub namespace: String,
    /// E.g. `NetworkPolicy`.
    pub kind: String,
}

impl Policies {
    /// Memory of the names.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |one: &PolicyName| size_of::<PolicyName>() + one.name.len() + one.namespace.len() + one.kind.len();
        self.allowed_by.iter().chain(&self.denied_by).map(bytes).sum()
    }
}
