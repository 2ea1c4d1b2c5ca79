//! Which end of a connection is the client, who its ends were, and which counts of a flow were reported already. Pure.

mod servers;

use std::{collections::HashMap, net::SocketAddr};

use trilobite_node_ebpf::{FlowDirection, FlowReason, PacketsBytes};

use self::servers::{EPHEMERAL, KnownServers};
use super::{
    decode::{FlowObservation, FlowTuple, Transport},
    endpoint::ConnectionEnd,
    tcp_flags::TcpFlags,
};

/// The map keeps at least this capacity while interfaces are watched.
const MIN_CAPACITY: usize = 1024;

/// Connections with at least one open direction, and the servers seen so far.
#[derive(Debug, Default)]
pub struct Connections {
    open: HashMap<ConnectionKey, Connection>,
    servers: KnownServers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ConnectionKey {
    interface: u32,
    transport: Transport,
    low: SocketAddr,
    high: SocketAddr,
}

#[derive(Debug, Default)]
struct Connection {
    low_is_client: bool,
    /// By direction through the interface, as `reported`.
    open: [bool; 2],
    reported: [PacketsBytes; 2],
    /// The low end and the high end.
    ends: [ConnectionEnd; 2],
}

/// What a record adds to what is known of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionUpdate {
    pub source: ConnectionEnd,
    pub destination: ConnectionEnd,
    /// The packet goes from the server to the client.
    pub is_reply: bool,
    /// The connection was unknown, or it begins anew on the same ports.
    pub is_new: bool,
    /// Counted since the last record of this direction.
    pub since: PacketsBytes,
}

impl Connections {
    /// Applies a record; `source` and `destination` are the current owners of its addresses.
    pub fn observe(
        &mut self,
        observation: &FlowObservation,
        source: ConnectionEnd,
        destination: ConnectionEnd,
    ) -> ConnectionUpdate {
        let tuple = &observation.tuple;
        let source_is_low = tuple.source <= tuple.destination;
        let (low, high) =
            if source_is_low { (tuple.source, tuple.destination) } else { (tuple.destination, tuple.source) };
        let key = ConnectionKey { interface: tuple.interface, transport: tuple.transport, low, high };
        // A SYN on known ports is another connection, perhaps with client and server swapped.
        let begins = is_first_packet(observation);
        let ended = observation.reason == FlowReason::End;
        self.servers.learn(observation);
        let (servers, mut is_new) = (&self.servers, begins);
        let connection = self.open.entry(key).or_insert_with(|| {
            is_new = true;
            let source_is_client = match (&source.service, &destination.service) {
                _ if is_tcp_handshake(observation) => begins,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                _ => servers.source_is_client(tuple).unwrap_or_else(|| source_is_client_by_ports(tuple)),
            };
            Connection { low_is_client: source_is_client == source_is_low, ..Connection::default() }
        });
        let side = usize::from(tuple.direction == FlowDirection::Out);
        if begins && !ended {
            connection.low_is_client = source_is_low;
            // Both addresses may have been given to other pods since.
            connection.ends = Default::default();
        }
        let [low, high] = &mut connection.ends;
        let (known_source, known_destination) = if source_is_low { (low, high) } else { (high, low) };
        known_source.update(source);
        known_destination.update(destination);
        let (source, destination) = (known_source.clone(), known_destination.clone());
        if observation.reason == FlowReason::New {
            connection.reported[side] = PacketsBytes::default();
        }
        let reported = &mut connection.reported[side];
        let since = PacketsBytes {
            packets: observation.packets.saturating_sub(reported.packets),
            bytes: observation.bytes.saturating_sub(reported.bytes),
        };
        *reported = PacketsBytes {
            packets: observation.packets.max(reported.packets),
            bytes: observation.bytes.max(reported.bytes),
        };
        let is_reply = connection.low_is_client != source_is_low;
        connection.open[side] = !ended;
        if ended {
            connection.reported[side] = PacketsBytes::default();
        }
        if connection.open == [false, false] {
            self.open.remove(&key);
        }
        ConnectionUpdate { source, destination, is_reply, is_new, since }
    }

    /// Frees memory that a burst has left behind.
    pub fn shrink(&mut self) {
        if self.open.capacity() > MIN_CAPACITY && self.open.len() < self.open.capacity() / 4 {
            self.open.shrink_to(self.open.len() * 2);
        }
    }

    /// Connections with an open direction.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Forgets the connections of a deleted interface; its servers may be seen on another one.
    pub fn forget(&mut self, interface: u32) {
        self.open.retain(|key, _| key.interface != interface);
    }
}

/// The first packet of a TCP connection: SYN without ACK. With ECN it has more flags.
fn is_first_packet(observation: &FlowObservation) -> bool {
    is_tcp_handshake(observation) && !observation.flags.has(TcpFlags::ACK)
}

/// A packet with SYN says which end is the client. Without it, a Service's address is the server; then a known server; then
/// the ports decide.
fn is_tcp_handshake(observation: &FlowObservation) -> bool {
    observation.tuple.transport == Transport::Tcp && observation.flags.has(TcpFlags::SYN)
}

/// An ephemeral port belongs to the client; if that decides nothing, the source of the first packet seen is the client.
fn source_is_client_by_ports(tuple: &FlowTuple) -> bool {
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

    fn packet(transport: Transport, direction: FlowDirection, flags: u16, packets: u64) -> FlowObservation {
        let (client, server) = ("10.1.0.7:40000", "10.2.0.9:80");
        let (source, destination) = if direction == FlowDirection::In { (client, server) } else { (server, client) };
        let mut observed = FlowObservation::first(source, destination, direction, flags);
        observed.tuple.transport = transport;
        observed.reason = if packets == 1 { FlowReason::New } else { FlowReason::Flag };
        (observed.packets, observed.bytes) = (packets, packets * 100);
        observed
    }

    /// Both addresses are unknown.
    fn observe(connections: &mut Connections, observed: &FlowObservation) -> ConnectionUpdate {
        connections.observe(observed, ConnectionEnd::default(), ConnectionEnd::default())
    }

    fn ended(mut observation: FlowObservation) -> FlowObservation {
        observation.reason = FlowReason::End;
        observation
    }

    #[test]
    fn syn_ack_is_a_reply_in_any_order() {
        let syn = packet(Transport::Tcp, FlowDirection::In, 0x02, 1);
        let answer = packet(Transport::Tcp, FlowDirection::Out, 0x12, 1);
        for order in [[syn, answer], [answer, syn]] {
            let mut connections = Connections::default();
            for observed in order {
                let update = observe(&mut connections, &observed);
                assert_eq!(update.is_reply, observed == answer);
            }
        }
    }

    #[test]
    fn ephemeral_port_is_the_client_of_a_running_connection() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut connections = Connections::default();
            assert!(observe(&mut connections, &packet(transport, FlowDirection::Out, 0x10, 1)).is_reply);
            assert!(!observe(&mut connections, &packet(transport, FlowDirection::In, 0x10, 1)).is_reply);
        }
    }

    #[test]
    fn server_on_an_ephemeral_port_is_remembered() {
        let mut connections = Connections::default();
        let of = |client: &str, direction, flags, packets| {
            let mut observed = packet(Transport::Tcp, direction, flags, packets);
            let (client, server) = (client.parse().unwrap(), "10.2.0.9:50051".parse().unwrap());
            let is_from_client = direction == FlowDirection::In;
            (observed.tuple.source, observed.tuple.destination) =
                if is_from_client { (client, server) } else { (server, client) };
            observed
        };
        // The first connection is seen from SYN to end; then its interface is deleted.
        for (direction, flags) in [(FlowDirection::In, 0x02), (FlowDirection::Out, 0x12)] {
            observe(&mut connections, &of("10.1.0.8:60000", direction, flags, 1));
            observe(&mut connections, &ended(of("10.1.0.8:60000", direction, flags, 1)));
        }
        connections.forget(12);
        let there = observe(&mut connections, &of("10.1.0.7:40000", FlowDirection::In, 0x10, 1));
        let back = observe(&mut connections, &of("10.1.0.7:40000", FlowDirection::Out, 0x10, 1));
        assert_eq!((there.is_reply, back.is_reply), (false, true));
    }

    #[test]
    fn reported_packets_are_not_reported_again() {
        let mut connections = Connections::default();
        let report = |connections: &mut Connections, packets| {
            observe(connections, &packet(Transport::Tcp, FlowDirection::In, 0x10, packets)).since
        };
        assert_eq!(report(&mut connections, 1), PacketsBytes { packets: 1, bytes: 100 });
        assert_eq!(report(&mut connections, 9), PacketsBytes { packets: 8, bytes: 800 });
        assert_eq!(report(&mut connections, 9), PacketsBytes { packets: 0, bytes: 0 });
    }

    #[test]
    fn connection_is_forgotten_when_both_directions_ended() {
        let mut connections = Connections::default();
        let there = packet(Transport::Udp, FlowDirection::In, 0, 1);
        let back = packet(Transport::Udp, FlowDirection::Out, 0, 1);
        observe(&mut connections, &there);
        observe(&mut connections, &back);
        observe(&mut connections, &ended(there));
        assert_eq!(connections.len(), 1);
        observe(&mut connections, &ended(back));
        assert!(connections.is_empty());
    }

    #[test]
    fn reused_ports_count_from_zero() {
        let mut connections = Connections::default();
        let mut first = packet(Transport::Tcp, FlowDirection::In, 0x02, 1);
        (first.packets, first.bytes) = (50, 5000);
        observe(&mut connections, &packet(Transport::Tcp, FlowDirection::Out, 0x12, 1));
        observe(&mut connections, &ended(first));
        let again = observe(&mut connections, &packet(Transport::Tcp, FlowDirection::In, 0x02, 1));
        assert_eq!(again.since.packets, 1);
        assert!(!again.is_reply);
    }

    #[test]
    fn ecn_syn_begins_a_new_connection() {
        let mut connections = Connections::default();
        let began = packet(Transport::Tcp, FlowDirection::Out, 0x02, 1);
        assert!(!observe(&mut connections, &began).is_reply);
        let again = packet(Transport::Tcp, FlowDirection::In, 0xc2, 1);
        assert!(!observe(&mut connections, &again).is_reply);
    }

    #[test]
    fn memory_of_a_burst_is_freed() {
        let mut connections = Connections::default();
        for port in 0..20_000 {
            let mut datagram = packet(Transport::Udp, FlowDirection::In, 0, 1);
            datagram.tuple.source.set_port(port);
            observe(&mut connections, &datagram);
            observe(&mut connections, &ended(datagram));
            let mut kept = packet(Transport::Udp, FlowDirection::In, 0, 1);
            kept.tuple.source.set_port(port);
            observe(&mut connections, &kept);
        }
        let before = connections.open.capacity();
        connections.open.retain(|key, _| key.low.port() < 100 && key.high.port() < 100);
        connections.shrink();
        assert!(connections.open.capacity() < before / 10, "{} of {before}", connections.open.capacity());
    }
}
