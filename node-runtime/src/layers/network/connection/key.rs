//! What identifies a connection on an interface: the same for both directions of its packets.

use std::net::SocketAddr;

use crate::layers::network::flow::L4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionKey {
    pub(super) interface: u32,
    /// The number of the protocol above IP: request and answer of ICMP differ in type.
    pub(super) protocol: u8,
    pub(super) low: SocketAddr,
    pub(super) high: SocketAddr,
}

impl ConnectionKey {
    /// The connection of a packet, and whether the packet's source is its low end.
    pub(super) fn new(interface: u32, l4: L4, source: SocketAddr, destination: SocketAddr) -> (Self, bool) {
        let source_is_low = source <= destination;
        let (low, high) = if source_is_low { (source, destination) } else { (destination, source) };
        (Self { interface, protocol: l4.number(), low, high }, source_is_low)
    }
}
