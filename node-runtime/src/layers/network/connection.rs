//! Which end of a connection began it, who its ends were, and what of a flow has been told already. Pure: records go in,
//! answers come out.

use std::{collections::HashMap, net::SocketAddr};

use trilobite_node_ebpf::flow::{FlowDirection, FlowReason, PacketsBytes};

use super::{
    party::Party,
    record::{Observed, Transport, Tuple},
    servers::Servers,
    tcp_flags::TcpFlags,
};

/// Ports from here on are given to clients, on Linux and by IANA's word.
pub(super) const EPHEMERAL: u16 = 32768;

/// Room for so many connections is not given back while something is watched.
const KEPT: usize = 1024;

/// The connections of which a direction is open, and the servers that were met.
#[derive(Debug, Default)]
pub struct Connections {
    open: HashMap<Key, State>,
    servers: Servers,
}

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
    /// Of the low end and the high end.
    parties: [Party; 2],
}

/// What a record adds to what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who sent it.
    pub source: Party,
    /// Who gets it.
    pub destination: Party,
    /// The packet's source is not the end that began.
    pub is_reply: bool,
    /// Nothing was known of the connection, or it begins anew on the same ports.
    pub is_new: bool,
    /// Since the last record of this direction.
    pub since: PacketsBytes,
}

impl Connections {
    /// Takes a record in; `source` and `destination` are who has its addresses now.
    pub fn observe(&mut self, observed: &Observed, source: Party, destination: Party) -> Told {
        let tuple = &observed.tuple;
        let source_is_low = tuple.source <= tuple.destination;
        let (low, high) =
            if source_is_low { (tuple.source, tuple.destination) } else { (tuple.destination, tuple.source) };
        let key = Key { interface: tuple.interface, transport: tuple.transport, low, high };
        // A SYN on ports that are known is another connection: who begins may have changed.
        let begins = begins(observed);
        let is_new = begins || !self.open.contains_key(&key);
        self.servers.learn(observed);
        let began = || match (&source.service, &destination.service) {
            _ if is_first_of_tcp(observed) => begins,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            _ => self.servers.source_began(tuple).unwrap_or_else(|| source_began_by_ports(tuple)),
        };
        let state =
            self.open.entry(key).or_insert_with(|| State { low_began: began() == source_is_low, ..State::default() });
        let side = usize::from(tuple.direction == FlowDirection::Out);
        if begins && observed.reason != FlowReason::End {
            state.low_began = source_is_low;
            // Both addresses may have been given to others since.
            state.parties = Default::default();
        }
        let [low, high] = &mut state.parties;
        let (known_source, known_destination) = if source_is_low { (low, high) } else { (high, low) };
        known_source.hear(source);
        known_destination.hear(destination);
        let (source, destination) = (known_source.clone(), known_destination.clone());
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
            self.open.remove(&key);
        }
        Told { source, destination, is_reply, is_new, since }
    }

    /// Gives back memory that a burst has left behind.
    pub fn shrink(&mut self) {
        if self.open.capacity() > KEPT && self.open.len() < self.open.capacity() / 4 {
            self.open.shrink_to(self.open.len() * 2);
        }
    }

    /// Connections of which a direction is open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Nothing is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Forgets the connections of an interface that is gone; the servers behind it may be met elsewhere.
    pub fn forget(&mut self, interface: u32) {
        self.open.retain(|key, _| key.interface != interface);
    }
}

/// It is the first packet of a connection. One that asks for congestion notification has more flags than SYN.
fn begins(observed: &Observed) -> bool {
    observed.tuple.transport == Transport::Tcp
        && observed.flags.has(TcpFlags::SYN)
        && !observed.flags.has(TcpFlags::ACK)
}

/// TCP's flags tell who began. Where they do not, an address that is a Service's tells; then a server that was met; then
/// the ports.
fn is_first_of_tcp(observed: &Observed) -> bool {
    observed.tuple.transport == Transport::Tcp && observed.flags.has(TcpFlags::SYN)
}

/// The packet's source is the end that began, as far as the ports tell: one that is given to clients does; else whoever
/// was seen first.
fn source_began_by_ports(tuple: &Tuple) -> bool {
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

    fn packet(transport: Transport, direction: FlowDirection, flags: u16, packets: u64) -> Observed {
        let (client, server) = ("10.1.0.7:40000", "10.2.0.9:80");
        let (source, destination) = if direction == FlowDirection::In { (client, server) } else { (server, client) };
        let mut observed = Observed::first(source, destination, direction, flags);
        observed.tuple.transport = transport;
        observed.reason = if packets == 1 { FlowReason::New } else { FlowReason::Flag };
        (observed.packets, observed.bytes) = (packets, packets * 100);
        observed
    }

    /// Nobody knows the addresses.
    fn see(connections: &mut Connections, observed: &Observed) -> Told {
        connections.observe(observed, Party::default(), Party::default())
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
                let told = see(&mut connections, &observed);
                assert_eq!(told.is_reply, observed == answer);
            }
        }
    }

    #[test]
    fn a_connection_met_in_its_middle_is_begun_by_the_ephemeral_port() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut connections = Connections::default();
            assert!(see(&mut connections, &packet(transport, FlowDirection::Out, 0x10, 1)).is_reply);
            assert!(!see(&mut connections, &packet(transport, FlowDirection::In, 0x10, 1)).is_reply);
        }
    }

    #[test]
    fn a_server_that_answered_once_is_known_for_one_though_its_port_is_given_to_clients() {
        let mut connections = Connections::default();
        let of = |client: &str, direction, flags, packets| {
            let mut observed = packet(Transport::Tcp, direction, flags, packets);
            let (client, server) = (client.parse().unwrap(), "10.2.0.9:50051".parse().unwrap());
            let is_from_client = direction == FlowDirection::In;
            (observed.tuple.source, observed.tuple.destination) =
                if is_from_client { (client, server) } else { (server, client) };
            observed
        };
        // The first connection comes and goes, seen from its first packet on; its interface goes with it.
        for (direction, flags) in [(FlowDirection::In, 0x02), (FlowDirection::Out, 0x12)] {
            see(&mut connections, &of("10.1.0.8:60000", direction, flags, 1));
            see(&mut connections, &ended(of("10.1.0.8:60000", direction, flags, 1)));
        }
        connections.forget(12);
        let there = see(&mut connections, &of("10.1.0.7:40000", FlowDirection::In, 0x10, 1));
        let back = see(&mut connections, &of("10.1.0.7:40000", FlowDirection::Out, 0x10, 1));
        assert_eq!((there.is_reply, back.is_reply), (false, true));
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut connections = Connections::default();
        let tell = |connections: &mut Connections, packets| {
            see(connections, &packet(Transport::Tcp, FlowDirection::In, 0x10, packets)).since
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
        see(&mut connections, &there);
        see(&mut connections, &back);
        see(&mut connections, &ended(there));
        assert_eq!(connections.len(), 1);
        see(&mut connections, &ended(back));
        assert!(connections.is_empty());
    }

    #[test]
    fn ports_that_are_used_again_begin_again_from_zero() {
        let mut connections = Connections::default();
        let mut first = packet(Transport::Tcp, FlowDirection::In, 0x02, 1);
        (first.packets, first.bytes) = (50, 5000);
        see(&mut connections, &packet(Transport::Tcp, FlowDirection::Out, 0x12, 1));
        see(&mut connections, &ended(first));
        let again = see(&mut connections, &packet(Transport::Tcp, FlowDirection::In, 0x02, 1));
        assert_eq!(again.since.packets, 1);
        assert!(!again.is_reply);
    }

    #[test]
    fn a_syn_that_asks_for_congestion_notification_begins_again_who_was_the_server() {
        let mut connections = Connections::default();
        let began = packet(Transport::Tcp, FlowDirection::Out, 0x02, 1);
        assert!(!see(&mut connections, &began).is_reply);
        let again = packet(Transport::Tcp, FlowDirection::In, 0xc2, 1);
        assert!(!see(&mut connections, &again).is_reply);
    }

    #[test]
    fn the_room_of_a_burst_is_given_back() {
        let mut connections = Connections::default();
        for port in 0..20_000 {
            let mut datagram = packet(Transport::Udp, FlowDirection::In, 0, 1);
            datagram.tuple.source.set_port(port);
            see(&mut connections, &datagram);
            see(&mut connections, &ended(datagram));
            let mut kept = packet(Transport::Udp, FlowDirection::In, 0, 1);
            kept.tuple.source.set_port(port);
            see(&mut connections, &kept);
        }
        let before = connections.open.capacity();
        connections.open.retain(|key, _| key.low.port() < 100 && key.high.port() < 100);
        connections.shrink();
        assert!(connections.open.capacity() < before / 10, "{} of {before}", connections.open.capacity());
    }
}
