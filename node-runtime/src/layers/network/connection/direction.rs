//! Which end of a connection is the client, and how that is known. Pure.

use std::net::SocketAddr;

use trilobite_node_ebpf::FlowReason;

use super::{ports, servers::KnownServers, sockets::SocketTable};
use crate::layers::network::{
    decode::{FlowObservation, Transport},
    endpoint::ConnectionEnd,
    flow::{L4, is_icmp_answer},
    tcp_flags::TcpFlags,
};

/// How long the direction of an ended connection is remembered, in nanoseconds: its ports may go on after a long silence.
pub(super) const REMEMBERED_NS: u64 = 600 * 1_000_000_000;

/// How the client of a connection is known, the weakest first: evidence that comes later corrects a weaker one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectionEvidence {
    /// The port numbers, or the first packet that was seen of a connection that may be older. A guess.
    #[default]
    Ports,
    /// It sent the first datagram.
    FirstPacket,
    /// The other end is a pod that declares the port, or a Service sends to it.
    Declared,
    /// The other end has answered a SYN on this port.
    KnownServer,
    /// A socket of the watched end: it listens on the port, or does not, or is connected.
    Socket,
    /// The other end is a Service.
    Service,
    /// It sent the SYN; of ICMP, a message that is no answer.
    Handshake,
}

/// What is known of the watched end of a connection, beside its packets.
pub struct WatchedEnd<'a> {
    /// It is the source of this packet.
    pub is_source: bool,
    /// The sockets of its network namespace when its interface was first watched.
    pub sockets: Option<&'a SocketTable>,
    /// When its interface was first watched: boot clock, nanoseconds.
    pub since: u64,
    /// See `Directory::declares`.
    pub declares: &'a dyn Fn(Transport, SocketAddr) -> bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) source_is_client: bool,
    pub(super) evidence: DirectionEvidence,
}

/// The strongest evidence there is. `opens`: nothing was known of the connection before this record.
pub(super) fn judge(
    observation: &FlowObservation,
    [source, destination]: [&ConnectionEnd; 2],
    servers: &KnownServers,
    watched: &WatchedEnd<'_>,
    opens: bool,
) -> Judgement {
    let tuple = &observation.tuple;
    let judgement = |source_is_client, evidence| Judgement { source_is_client, evidence };
    if is_tcp_handshake(observation) {
        return judgement(!observation.flags.has(TcpFlags::ACK), DirectionEvidence::Handshake);
    }
    let transport = match tuple.l4 {
        L4::Icmp { v6, kind, .. } => return judgement(!is_icmp_answer(v6, kind), DirectionEvidence::Handshake),
        L4::Udp => Transport::Udp,
        L4::Tcp | L4::Other(_) => Transport::Tcp,
    };
    if source.service.is_some() != destination.service.is_some() {
        return judgement(destination.service.is_some(), DirectionEvidence::Service);
    }
    let (near, far) =
        if watched.is_source { (tuple.source, tuple.destination) } else { (tuple.destination, tuple.source) };
    if let Some(near_is_server) = watched.sockets.and_then(|sockets| sockets.is_server(transport, near, far)) {
        return judgement(near_is_server != watched.is_source, DirectionEvidence::Socket);
    }
    if let Some(source_is_client) = servers.source_is_client(tuple) {
        return judgement(source_is_client, DirectionEvidence::KnownServer);
    }
    let declared = [tuple.source, tuple.destination].map(|address| (watched.declares)(transport, address));
    if declared[0] != declared[1] {
        return judgement(declared[1], DirectionEvidence::Declared);
    }
    let by_ports = ports::source_is_client(tuple);
    let is_first = opens && observation.reason == FlowReason::New && !may_be_older(observation, watched);
    if transport == Transport::Udp && is_first && by_ports != Some(false) {
        return judgement(true, DirectionEvidence::FirstPacket);
    }
    let or_larger_port = || match transport {
        Transport::Tcp if tuple.source.port() != tuple.destination.port() => {
            tuple.source.port() > tuple.destination.port()
        }
        _ => true,
    };
    judgement(by_ports.unwrap_or_else(or_larger_port), DirectionEvidence::Ports)
}

/// A packet with SYN says which end is the client.
pub(super) fn is_tcp_handshake(observation: &FlowObservation) -> bool {
    observation.tuple.l4 == L4::Tcp && observation.flags.has(TcpFlags::SYN)
}

/// Its ports may have been in use before the interface was watched.
fn may_be_older(observation: &FlowObservation, watched: &WatchedEnd<'_>) -> bool {
    let had_none = watched.sockets.is_some_and(SocketTable::has_no_udp);
    !had_none && observation.first.saturating_sub(watched.since) <= REMEMBERED_NS
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::FlowDirection;

    use super::*;

    /// From the pod behind the interface to another, both on ephemeral ports, in the middle of the connection.
    fn packet(transport: Transport) -> FlowObservation {
        let mut packet = FlowObservation::first("10.1.0.7:50051", "10.2.0.9:60000", FlowDirection::In, 0x10);
        packet.tuple.l4 = transport.into();
        packet
    }

    fn judged(observation: &FlowObservation, sockets: Option<&SocketTable>, declared: &[&str]) -> Judgement {
        let declares = |_, address: SocketAddr| declared.contains(&address.to_string().as_str());
        let watched = WatchedEnd { is_source: true, sockets, since: 0, declares: &declares };
        let unknown = ConnectionEnd::default();
        judge(observation, [&unknown, &unknown], &KnownServers::default(), &watched, true)
    }

    #[test]
    fn listening_socket_of_the_pod_beats_the_larger_port() {
        let mut answer = packet(Transport::Tcp);
        (answer.tuple.source, answer.tuple.destination) =
            ("10.1.0.7:60000".parse().unwrap(), "10.2.0.9:50051".parse().unwrap());
        let guess = Judgement { source_is_client: true, evidence: DirectionEvidence::Ports };
        assert_eq!(judged(&answer, None, &[]), guess);
        let listens = SocketTable::with_sockets(&["0.0.0.0:60000"], &[], &[]);
        let server = Judgement { source_is_client: false, evidence: DirectionEvidence::Socket };
        assert_eq!(judged(&answer, Some(&listens), &[]), server);
        let other = SocketTable::with_sockets(&["0.0.0.0:80"], &[], &[]);
        assert_eq!(judged(&answer, Some(&other), &[]).evidence, DirectionEvidence::Socket);
        assert!(judged(&answer, Some(&other), &[]).source_is_client);
    }

    #[test]
    fn declared_port_is_the_servers_unless_both_declare_theirs() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let own = judged(&packet(transport), None, &["10.1.0.7:50051"]);
            assert_eq!((own.source_is_client, own.evidence), (false, DirectionEvidence::Declared));
            let other = judged(&packet(transport), None, &["10.2.0.9:60000"]);
            assert_eq!((other.source_is_client, other.evidence), (true, DirectionEvidence::Declared));
            let both = judged(&packet(transport), None, &["10.1.0.7:50051", "10.2.0.9:60000"]);
            assert_eq!(both.evidence, DirectionEvidence::Ports);
        }
    }

    #[test]
    fn end_that_sends_a_message_of_icmp_is_the_client_unless_it_answers() {
        for (v6, kind, is_client) in
            [(false, 8, true), (false, 0, false), (false, 3, true), (true, 128, true), (true, 129, false)]
        {
            let mut message = packet(Transport::Tcp);
            message.tuple.l4 = L4::Icmp { v6, kind, code: 0 };
            let judged = judged(&message, None, &[]);
            assert_eq!((judged.source_is_client, judged.evidence), (is_client, DirectionEvidence::Handshake), "{kind}");
        }
    }

    #[test]
    fn first_datagram_is_a_guess_while_its_ports_may_be_older() {
        let mut datagram = packet(Transport::Udp);
        assert_eq!(judged(&datagram, None, &[]).evidence, DirectionEvidence::Ports);
        // The pod had no UDP socket when its interface was first watched.
        let empty = SocketTable::with_sockets(&[], &[], &[]);
        assert_eq!(judged(&datagram, Some(&empty), &[]).evidence, DirectionEvidence::FirstPacket);
        datagram.first = REMEMBERED_NS + 1;
        let later = judged(&datagram, None, &[]);
        assert_eq!((later.source_is_client, later.evidence), (true, DirectionEvidence::FirstPacket));
    }
}
