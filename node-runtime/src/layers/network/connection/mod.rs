//! Which end of a connection is the client, who its ends were, and which counts of a flow were reported already. Pure.

pub mod direction;
mod key;
mod ports;
mod remembered;
mod servers;
pub mod sockets;

use std::{collections::HashMap, net::SocketAddr};

use trilobite_node_ebpf::{FlowDirection, FlowReason, PacketsBytes};

use self::{
    direction::{DirectionEvidence, Judgement, WatchedEnd, is_tcp_handshake, judge},
    key::ConnectionKey,
    remembered::RememberedDirections,
    servers::KnownServers,
};
use super::{decode::FlowObservation, endpoint::ConnectionEnd, flow::L4, tcp_flags::TcpFlags};

/// The map keeps at least this capacity while interfaces are watched.
const MIN_CAPACITY: usize = 1024;

/// Connections with at least one open direction, and what earlier ones said of servers and directions.
#[derive(Debug, Default)]
pub struct Connections {
    open: HashMap<ConnectionKey, Connection>,
    servers: KnownServers,
    remembered: RememberedDirections,
}

#[derive(Debug, Default)]
struct Connection {
    low_is_client: bool,
    evidence: DirectionEvidence,
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
    /// How that is known.
    pub evidence: DirectionEvidence,
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
        watched: &WatchedEnd<'_>,
    ) -> ConnectionUpdate {
        let tuple = &observation.tuple;
        let (key, source_is_low) = ConnectionKey::new(tuple.interface, tuple.l4, tuple.source, tuple.destination);
        // A SYN on known ports is another connection, perhaps with client and server swapped.
        let begins = is_first_packet(observation);
        let ended = observation.reason == FlowReason::End;
        self.servers.learn(observation);
        let mut is_new = begins;
        let mut judged = None;
        let remembered = &mut self.remembered;
        let connection = self.open.entry(key).or_insert_with(|| {
            is_new = true;
            let known = remembered.remove(&key, observation.time).filter(|_| !begins);
            let fresh = judge(observation, [&source, &destination], &self.servers, watched, known.is_none());
            judged = Some(fresh);
            let (low_is_client, evidence) = match known {
                Some(known) => (known.low_is_client, known.evidence),
                None => (fresh.source_is_client == source_is_low, fresh.evidence),
            };
            Connection { low_is_client, evidence, ..Connection::default() }
        });
        let side = usize::from(tuple.direction == FlowDirection::Out);
        if begins && !ended {
            (connection.low_is_client, connection.evidence) = (source_is_low, DirectionEvidence::Handshake);
            // Both addresses may have been given to other pods since.
            connection.ends = Default::default();
        } else if connection.evidence < DirectionEvidence::Socket {
            // Evidence may have come since the connection was judged.
            let now = || judge(observation, [&source, &destination], &self.servers, watched, false);
            let Judgement { source_is_client, evidence } = judged.unwrap_or_else(now);
            if evidence > connection.evidence {
                (connection.low_is_client, connection.evidence) = (source_is_client == source_is_low, evidence);
            }
        }
        let [low, high] = &mut connection.ends;
        let (known_source, known_destination) = if source_is_low { (low, high) } else { (high, low) };
        known_source.update(source, observation.last);
        known_destination.update(destination, observation.last);
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
        let evidence = connection.evidence;
        connection.open[side] = !ended;
        if ended {
            connection.reported[side] = PacketsBytes::default();
        }
        if connection.open == [false, false] {
            if is_worth_remembering(observation, is_reply, evidence) {
                self.remembered.insert(key, connection.low_is_client, evidence, observation.time);
            }
            self.open.remove(&key);
        }
        ConnectionUpdate { source, destination, is_reply, evidence, is_new, since }
    }

    /// Of an open connection on an interface: whether a packet from `source` is a reply, and how that is known.
    pub fn direction(
        &self,
        interface: u32,
        l4: L4,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Option<(bool, DirectionEvidence)> {
        let (key, source_is_low) = ConnectionKey::new(interface, l4, source, destination);
        let connection = self.open.get(&key)?;
        Some((connection.low_is_client != source_is_low, connection.evidence))
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
        self.remembered.forget(interface);
    }
}

/// The first packet of a TCP connection: SYN without ACK, with ECN it has more flags. A SYN that is sent again has no record of
/// its own, but may be in one that is due.
fn is_first_packet(observation: &FlowObservation) -> bool {
    is_tcp_handshake(observation)
        && !observation.flags.has(TcpFlags::ACK)
        && matches!(observation.reason, FlowReason::New | FlowReason::Flag)
}

/// The connection fell silent without an end, and its later packets will not say as much of their direction.
fn is_worth_remembering(observation: &FlowObservation, is_reply: bool, evidence: DirectionEvidence) -> bool {
    let is_closed = observation.tuple.l4 == L4::Tcp
        && [TcpFlags::FIN, TcpFlags::RST].into_iter().any(|flag| observation.flags_seen.has(flag));
    let is_told_again = matches!(
        evidence,
        DirectionEvidence::Ports | DirectionEvidence::Declared | DirectionEvidence::Socket | DirectionEvidence::Service
    );
    !is_closed && !is_told_again && ports::source_is_client(&observation.tuple) != Some(!is_reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::decode::Transport;

    fn packet(transport: Transport, direction: FlowDirection, flags: u16, packets: u64) -> FlowObservation {
        let (client, server) = ("10.1.0.7:40000", "10.2.0.9:80");
        let (source, destination) = if direction == FlowDirection::In { (client, server) } else { (server, client) };
        let mut observed = FlowObservation::first(source, destination, direction, flags);
        observed.tuple.l4 = transport.into();
        observed.reason = if packets == 1 { FlowReason::New } else { FlowReason::Flag };
        (observed.packets, observed.bytes) = (packets, packets * 100);
        observed
    }

    /// Both addresses are unknown.
    fn observe(connections: &mut Connections, observed: &FlowObservation) -> ConnectionUpdate {
        let is_source = observed.tuple.direction == FlowDirection::In;
        observe_at(connections, observed, &WatchedEnd { is_source, sockets: None, since: 0, declares: &|_, _| false })
    }

    fn observe_at(
        connections: &mut Connections,
        observed: &FlowObservation,
        watched: &WatchedEnd<'_>,
    ) -> ConnectionUpdate {
        connections.observe(observed, ConnectionEnd::default(), ConnectionEnd::default(), watched)
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
    /// A datagram between two ephemeral ports, seen long after its interface was first watched.
    fn datagram(direction: FlowDirection, seconds: u64) -> FlowObservation {
        let mut observed = packet(Transport::Udp, direction, 0, 1);
        let (client, server) = ("10.1.0.7:40000".parse().unwrap(), "10.2.0.9:50051".parse().unwrap());
        (observed.tuple.source, observed.tuple.destination) =
            if direction == FlowDirection::In { (client, server) } else { (server, client) };
        observed.time = seconds * 1_000_000_000;
        (observed.first, observed.last) = (observed.time, observed.time);
        observed
    }

    #[test]
    fn late_answer_by_udp_is_a_reply() {
        let mut connections = Connections::default();
        let question = datagram(FlowDirection::In, 1000);
        assert!(!observe(&mut connections, &question).is_reply);
        observe(&mut connections, &ended(datagram(FlowDirection::In, 1030)));
        assert!(connections.is_empty());
        let answer = observe(&mut connections, &datagram(FlowDirection::Out, 1300));
        assert_eq!((answer.is_reply, answer.evidence), (true, DirectionEvidence::FirstPacket));
        observe(&mut connections, &ended(datagram(FlowDirection::Out, 1330)));
        // By then other programs may use the ports.
        assert!(!observe(&mut connections, &datagram(FlowDirection::Out, 3000)).is_reply);
    }

    #[test]
    fn tcp_connection_that_was_silent_keeps_its_direction() {
        let mut connections = Connections::default();
        let of = |flags, direction, seconds| {
            let mut observed = datagram(direction, seconds);
            observed.tuple.l4 = L4::Tcp;
            (observed.flags, observed.flags_seen) = (TcpFlags(flags), TcpFlags(flags));
            observed
        };
        observe(&mut connections, &of(0x02, FlowDirection::In, 1000));
        observe(&mut connections, &ended(of(0x10, FlowDirection::In, 1300)));
        assert!(connections.is_empty());
        let later = observe(&mut connections, &of(0x18, FlowDirection::Out, 1400));
        assert_eq!((later.is_reply, later.evidence), (true, DirectionEvidence::Handshake));
    }

    #[test]
    fn guess_is_corrected_when_evidence_comes() {
        let mut connections = Connections::default();
        let mut answer = packet(Transport::Tcp, FlowDirection::Out, 0x10, 1);
        (answer.tuple.source, answer.tuple.destination) =
            ("10.2.0.9:60000".parse().unwrap(), "10.1.0.7:40000".parse().unwrap());
        let guess = observe(&mut connections, &answer);
        assert_eq!((guess.is_reply, guess.evidence), (false, DirectionEvidence::Ports));
        let declares = |_, address: std::net::SocketAddr| address.port() == 60000;
        let watched = WatchedEnd { is_source: false, sockets: None, since: 0, declares: &declares };
        let corrected = observe_at(&mut connections, &answer, &watched);
        assert_eq!((corrected.is_reply, corrected.evidence), (true, DirectionEvidence::Declared));
        // Another client's handshake shows the server, too.
        let mut other = answer;
        (other.flags, other.tuple.destination) = (TcpFlags(0x12), "10.1.0.7:40001".parse().unwrap());
        observe(&mut connections, &other);
        assert_eq!(observe(&mut connections, &answer).evidence, DirectionEvidence::KnownServer);
    }

    #[test]
    fn syn_that_is_sent_again_does_not_begin_a_connection() {
        let mut connections = Connections::default();
        let syn = packet(Transport::Tcp, FlowDirection::In, 0x02, 1);
        assert!(observe(&mut connections, &syn).is_new);
        let again = FlowObservation { reason: FlowReason::Active, packets: 4, ..syn };
        let update = observe(&mut connections, &again);
        assert_eq!((update.is_new, update.since.packets), (false, 3));
    }

    #[test]
    fn connections_in_a_row_have_numbers_of_their_own() {
        let mut connections = Connections::default();
        for _ in 0..3 {
            let (syn, answer) = (
                packet(Transport::Tcp, FlowDirection::In, 0x02, 1),
                packet(Transport::Tcp, FlowDirection::Out, 0x12, 1),
            );
            assert!(observe(&mut connections, &syn).is_new);
            assert!(observe(&mut connections, &answer).is_reply);
            for (first, packets) in [(syn, 6), (answer, 4)] {
                let last = ended(FlowObservation { packets, bytes: packets * 100, flags: TcpFlags(0), ..first });
                assert_eq!(observe(&mut connections, &last).since.packets, packets - 1);
            }
            assert!(connections.is_empty());
        }
    }
}
