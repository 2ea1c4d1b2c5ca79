//! A connection and its two ends, as policies see them.

use std::{collections::BTreeMap, fmt, net::IpAddr};

/// Labels of a pod, a namespace or a node.
pub type Labels = BTreeMap<String, String>;

/// The protocols that network policies have ports of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The protocol as objects have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The protocol of an object's text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }
}

/// A port of a container that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// A pod with a network of its own.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// Shown in texts; selects nothing.
    pub name: &'a str,
    /// The pod's labels.
    pub labels: &'a Labels,
    /// The labels of the pod's namespace.
    pub namespace_labels: &'a Labels,
    /// The named ports of the pod's containers.
    pub named_ports: &'a [NamedPort],
    /// The name of the node that the pod runs on, empty where it is not known.
    pub node: &'a str,
}

/// A node, or a pod in its node's network.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The node's name.
    pub name: &'a str,
    /// The node's labels.
    pub labels: &'a Labels,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// A pod with a network of its own.
    Pod(Pod<'a>),
    /// A node, or a pod in its node's network.
    Node(Node<'a>),
    /// Outside of the cluster, or not known: only its address counts.
    External,
}

/// A connection as it is at the pods: after the translation of a Service's address.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The end that opened it.
    pub client: Peer<'a>,
    /// The client's address.
    pub client_ip: IpAddr,
    /// The end that it was opened to.
    pub server: Peer<'a>,
    /// The server's address.
    pub server_ip: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// The server's port.
    pub port: u16,
}

impl Connection<'_> {
    /// Whether a pod was led back to itself. Implementations need not enforce policies on it.
    pub fn is_hairpin(&self) -> bool {
        self.client_ip == self.server_ip
    }
}

impl<'a> Peer<'a> {
    pub(crate) fn pod(&self) -> Option<&Pod<'a>> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Node(_) | Self::External => None,
        }
    }

    /// Whether this is the node that the pod runs on.
    pub(crate) fn is_node_of(&self, pod: &Pod<'_>) -> bool {
        matches!(self, Self::Node(node) if node.name == pod.node && !pod.node.is_empty())
    }
}

impl Pod<'_> {
    /// Whether the port has this name.
    pub(crate) fn has_named_port(&self, name: &str, protocol: Protocol, port: u16) -> bool {
        self.named_ports.iter().any(|known| known.port == port && known.protocol == protocol && known.name == name)
    }
}

/// A peer and its address in texts: `payments/cart-1`, `node n1`, `203.0.113.7`.
pub(crate) struct PeerText<'a>(pub(crate) &'a Peer<'a>, pub(crate) IpAddr);

impl fmt::Display for PeerText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peer::Pod(pod) => write!(f, "{}/{}", pod.namespace, pod.name),
            Peer::Node(node) => write!(f, "node {}", node.name),
            Peer::External => write!(f, "{}", self.1),
        }
    }
}
