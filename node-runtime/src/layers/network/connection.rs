//! Which end of a connection began it, and what of a flow has been told already. Pure: records go in, answers come out.

use std::{collections::HashMap, net::SocketAddr};

use trilobite_node_ebpf::flow::{FlowDirection, FlowReason, PacketsBytes};

use super::{
    record::{Observed, Transport},
    tcp_flags::TcpFlags,
};

/// Ports from here on are given to clients, on Linux and by IANA's word.
const EPHEMERAL: u16 = 32768;

/// Room for so many connections is not given back while something is watched.
const KEPT: usize = 1024;

/// The connections of which a direction is open.
#[derive(Debug, Default)]
pub struct Connections(HashMap<Key, State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    interface: u32,
    transport: Transport,
    low: SocketAddr,
    high: SocketAddr,
}

#[derive(Debug, Default)]
struct State {
    low_began: bool,
    open: [bool; 2],
    told: [PacketsBytes; 2],
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who sent it.
    Source,
    /// Who gets it.
    Destination,
}

/// What a record adds to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The packet's source is not the end that began.
    pub is_reply: bool,
    /// Nothing was known of the connection, or it begins anew on the same ports.
    pub is_new: bool,
    /// Since the last record of this direction.
    pub since: PacketsBytes,
}

impl Connections {
    /// Takes a record in; `server` is the end that is known to serve, where one is: its address is a Service's.
    pub fn observe(&mut self, observed: &Observed, server: Option<Side>) -> Told {
        let tuple = &observed.tuple;
        let source_is_low = tuple.source <= tuple.destination;
        let (low, high) =
            if source_is_low { (tuple.source, tuple.destination) } else { (tuple.destination, tuple.source) };
        let key = Key { interface: tuple.interface, transport: tuple.transport, low, high };
        // A SYN on ports that are known is another connection: who begins may have changed.
        let begins = begins(observed);
        let is_new = begins || !self.0.contains_key(&key);
        let state = self.0.entry(key).or_insert_with(|| State {
            low_began: source_began(observed, server) == source_is_low,
            ..State::default()
        });
        let side = usize::from(tuple.direction == FlowDirection::Out);
        if begins && observed.reason != FlowReason::End {
            state.low_began = source_is_low;
        }
        if observed.reason == FlowReason::New {
            state.told[side] = PacketsBytes::default();
        }
        let told = &mut state.told[side];
        let since = PacketsBytes {
            packets: observed.packets.saturating_sub(told.packets),
            bytes: observed.bytes.saturating_sub(told.bytes),
        };
        *told = PacketsBytes { packets: observed.packets.max(told.packets), bytes: observed.bytes.max(told.bytes) };
        let is_reply = state.low_began != source_is_low;
        state.open[side] = observed.reason != FlowReason::End;
        if observed.reason == FlowReason::End {
            state.told[side] = PacketsBytes::default();
        }
        if state.open == [false, false] {
            self.0.remove(&key);
        }
        Told { is_reply, is_new, since }
    }

    /// Gives back memory that a burst has left behind.
    pub fn shrink(&mut self) {
        if self.0.capacity() > KEPT && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    /// Connections of which a direction is open.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets the connections of an interface that is gone.
    pub fn forget(&mut self, interface: u32) {
        self.0.retain(|key, _| key.interface != interface);
    }
}

/// It is the first packet of a connection. One that asks for congestion notification has more flags than SYN.
fn begins(observed: &Observed) -> bool {
    observed.tuple.transport == Transport::Tcp
        && observed.flags.has(TcpFlags::SYN)
        && !observed.flags.has(TcpFlags::ACK)
}

/// The packet's source is the end that began, as far as one packet tells: TCP's flags do; where they do not, an address
/// that is a Service's; then a port that is given to clients; else whoever was seen first.
fn source_began(observed: &Observed, server: Option<Side>) -> bool {
    let tuple = &observed.tuple;
    if tuple.transport == Transport::Tcp && observed.flags.has(TcpFlags::SYN) {
        return begins(observed);
    }
    if let Some(side) = server {
        return side == Side::Destination;
    }
    let (source, destination) = (tuple.source.port(), tuple.destination.port());
    match (source >= EPHEMERAL, destination >= EPHEMERAL) {
        (true, false) => true,
        (false, true) => false,
        _ if tuple.transport == Transport::Tcp && source != destination => source > destination,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::record::Tuple;

    fn packet(transport: Transport, direction: FlowDirection, flags: u16, packets: u64) -> Observed {
        let (client, server) = ("10.1.0.7:40000".parse().unwrap(), "10.2.0.9:80".parse().unwrap());
        let (source, destination) = if direction == FlowDirection::In { (client, server) } else { (server, client) };
        Observed {
            tuple: Tuple { interface: 3, direction, transport, source, destination },
            reason: if packets == 1 { FlowReason::New } else { FlowReason::Flag },
            time: 0,
            connection: 1,
            flags: TcpFlags(flags),
            flags_seen: TcpFlags(flags),
            packets,
            bytes: packets * 100,
            first: 0,
            last: 0,
            source_mac: [0; 6],
            destination_mac: [0; 6],
        }
    }

    fn ended(mut of: Observed) -> Observed {
        of.reason = FlowReason::End;
        of
    }

    #[test]
    fn the_answer_to_a_syn_is_a_reply_whichever_is_seen_first() {
        let syn = packet(Transport::Tcp, FlowDirection::In, 0x02, 1);
        let answer = packet(Transport::Tcp, FlowDirection::Out, 0x12, 1);
        for order in [[syn, answer], [answer, syn]] {
            let mut connections = Connections::default();
            for observed in order {
                let told = connections.observe(&observed, None);
                assert_eq!(told.is_reply, observed == answer);
            }
        }
    }

    #[test]
    fn a_connection_met_in_its_middle_is_begun_by_the_ephemeral_port() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut connections = Connections::default();
            assert!(connections.observe(&packet(transport, FlowDirection::Out, 0x10, 1), None).is_reply);
            assert!(!connections.observe(&packet(transport, FlowDirection::In, 0x10, 1), None).is_reply);
        }
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut connections = Connections::default();
        let tell = |connections: &mut Connections, packets| {
            connections.observe(&packet(Transport::Tcp, FlowDirection::In, 0x10, packets), None).since
        };
        assert_eq!(tell(&mut connections, 1), PacketsBytes { packets: 1, bytes: 100 });
        assert_eq!(tell(&mut connections, 9), PacketsBytes { packets: 8, bytes: 800 });
        assert_eq!(tell(&mut connections, 9), PacketsBytes { packets: 0, bytes: 0 });
    }

    #[test]
    fn a_connection_is_forgotten_when_both_directions_have_ended() {
        let mut connections = Connections::default();
        let there = packet(Transport::Udp, FlowDirection::In, 0, 1);
        let back = packet(Transport::Udp, FlowDirection::Out, 0, 1);
        connections.observe(&there, None);
        connections.observe(&back, None);
        connections.observe(&ended(there), None);
        assert_eq!(connections.len(), 1);
        connections.observe(&ended(back), None);
        assert!(connections.is_empty());
    }

    #[test]
    fn ports_that_are_used_again_begin_again_from_zero() {
        let mut connections = Connections::default();
        let mut first = packet(Transport::Tcp, FlowDirection::In, 0x02, 1);
        (first.packets, first.bytes) = (50, 5000);
        connections.observe(&packet(Transport::Tcp, FlowDirection::Out, 0x12, 1), None);
        connections.observe(&ended(first), None);
        let again = connections.observe(&packet(Transport::Tcp, FlowDirection::In, 0x02, 1), None);
        assert_eq!(again.since.packets, 1);
        assert!(!again.is_reply);
    }

    #[test]
    fn a_syn_that_asks_for_congestion_notification_begins_again_who_was_the_server() {
        let mut connections = Connections::default();
        let began = packet(Transport::Tcp, FlowDirection::Out, 0x02, 1);
        assert!(!connections.observe(&began, None).is_reply);
        let again = packet(Transport::Tcp, FlowDirection::In, 0xc2, 1);
        assert!(!connections.observe(&again, None).is_reply);
    }

    #[test]
    fn the_room_of_a_burst_is_given_back() {
        let mut connections = Connections::default();
        for port in 0..20_000 {
            let mut datagram = packet(Transport::Udp, FlowDirection::In, 0, 1);
            datagram.tuple.source.set_port(port);
            connections.observe(&datagram, None);
            connections.observe(&ended(datagram), None);
            let mut kept = packet(Transport::Udp, FlowDirection::In, 0, 1);
            kept.tuple.source.set_port(port);
            connections.observe(&kept, None);
        }
        let before = connections.0.capacity();
        connections.0.retain(|key, _| key.low.port() < 100 && key.high.port() < 100);
        connections.shrink();
        assert!(connections.0.capacity() < before / 10, "{} of {before}", connections.0.capacity());
    }
}
