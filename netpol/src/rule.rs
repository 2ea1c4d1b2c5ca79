//! A compiled rule: peers, ports and what to do with what matches both.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    connection::{Connection, Peer},
    decision::MatchType,
    matching::{AddressSet, PodIndex, PodSelector, PortSet, Selector},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Deny,
    /// Leaves the decision to the tiers below.
    Pass,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) action: Action,
    /// None: every peer.
    pub(crate) peers: Option<PeerSet>,
    /// None: every port of every protocol.
    pub(crate) ports: Option<PortSet>,
}

/// The peers of a rule; without any it matches nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerSet {
    pods: PodIndex,
    addresses: AddressSet,
    nodes: Box<[Selector]>,
    has_domain_names: bool,
}

#[derive(Default)]
pub(crate) struct PeersBuilder {
    pub(crate) pods: Vec<PodSelector>,
    /// Networks, each with the networks excepted from it.
    pub(crate) blocks: Vec<(IpNet, Vec<IpNet>)>,
    pub(crate) nodes: Vec<Selector>,
    /// Domain names are among the peers. Which addresses they stand for is not known.
    pub(crate) has_domain_names: bool,
}

/// Whether a rule is about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Yes,
    No,
    /// If one of the rule's domain names stands for the address.
    Undecided,
}

impl Rule {
    /// What a rule that denies or passes becomes where it cannot be read.
    pub(crate) fn deny_all() -> Self {
        Self { action: Action::Deny, peers: None, ports: None }
    }

    /// `peer` is the other end, seen from the pod that the rule's policy selects.
    pub(crate) fn matches(&self, peer: &Peer<'_>, peer_ip: IpAddr, connection: &Connection<'_>) -> Match {
        if !self.ports.as_ref().is_none_or(|ports| ports.contains(connection)) {
            return Match::No;
        }
        match &self.peers {
            None => Match::Yes,
            Some(peers) if peers.contains(peer, peer_ip) => Match::Yes,
            Some(peers) if peers.has_domain_names => Match::Undecided,
            Some(_) => Match::No,
        }
    }

    pub(crate) fn uses_addresses(&self) -> bool {
        self.peers.as_ref().is_some_and(|peers| !peers.addresses.is_empty())
    }

    pub(crate) fn match_type(&self) -> MatchType {
        MatchType::from_restrictions(self.peers.is_some(), self.ports.is_some())
    }
}

impl PeersBuilder {
    pub(crate) fn build(self) -> PeerSet {
        let Self { pods, blocks, nodes, has_domain_names } = self;
        PeerSet {
            pods: PodIndex::new(pods),
            addresses: AddressSet::new(&blocks),
            nodes: nodes.into(),
            has_domain_names,
        }
    }
}

impl PeerSet {
    fn contains(&self, peer: &Peer<'_>, address: IpAddr) -> bool {
        let is_selected = match peer {
            Peer::Pod(pod) => self.pods.selects(pod),
            Peer::Node(node) => self.nodes.iter().any(|selector| selector.selects(node.labels)),
            Peer::External => false,
        };
        is_selected || self.addresses.contains(address)
    }
}
