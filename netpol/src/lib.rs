//! What Kubernetes' network policies say about a connection: NetworkPolicy, ClusterNetworkPolicy, and the older
//! AdminNetworkPolicy and BaselineAdminNetworkPolicy. Objects in, compiled rules, decisions out; nothing is enforced here.
//!
//! A decision has a side for each end: egress at the client, ingress at the server. Tiers are asked in the order Admin (by
//! priority), NetworkPolicy, Baseline (by priority); the first that decides ends the evaluation of its side.
//!
//! What the APIs leave open is decided so:
//! - Connections are asked about, never packets: answers belong to their connection. TCP, UDP and SCTP; of ICMP the APIs say
//!   too little.
//! - A pod's connection to itself is evaluated like any other. Over its own address it never leaves the pod, and nothing asks;
//!   one that a Service leads back may be enforced or not, and upstream's tests leave it out: [`Connection::is_hairpin`].
//! - A pod in its node's network is that node ([`Peer::Node`]): no policy selects it, and peers find it by address, or by the
//!   labels of the node. Traffic of a node to its own pods is allowed by the NetworkPolicies, as the API says, and passes the
//!   tiers around them like any other.
//! - Addresses are those at the pods' ends, after a Service's translation.
//! - Of two policies of one tier and priority either may decide by the API; here it is the first by kind and name.
//! - Domain names are not addresses: such a peer matches nothing, and [`Side::undecided_by`] names the policies that may accept
//!   what was denied.
//!
//! What cannot be read fails closed and is named ([`Refused`]):
//! - of a NetworkPolicy a peer, port or rule allows nothing; with an unknown field in its spec it isolates its pods and allows
//!   nothing, and where its pods cannot be read, all pods of its namespace;
//! - in the other kinds a rule that accepts matches nothing, and a rule that denies, passes or does what is not known denies
//!   everything; where tier, priority or pods cannot be read, the policy selects no pod.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod connection;
mod decision;
mod explain;
mod matching;
mod policy;
mod policy_name;
mod policy_set;
mod read;
mod refused;
mod rule;

pub use connection::{Connection, Labels, NamedPort, Node, Peer, Pod, Protocol};
pub use decision::{Decision, MatchType, Side, Verdict};
pub use policy::Policy;
pub use policy_name::{PolicyKind, PolicyName};
pub use policy_set::PolicySet;
pub use refused::{NotAPolicy, Refused};

#[cfg(test)]
mod tests;
