//! The connection of a flow as policies are asked about it: which end is the client, and what each end is. Pure.

use std::{net::IpAddr, sync::Arc};

use trilobite_netpol::Protocol;
use trilobite_node_ebpf::FlowReason;

use crate::layers::network::{
    decode::Transport,
    endpoint::{Endpoint, Reserved},
    flow::{Event, Flow, Forwarded, L4},
    tcp_flags::TcpFlags,
    verdict::{AskedConnection, ConnectionEndId, PolicyIndex},
};

/// The end of a packet that is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientEnd {
    Source,
    Destination,
}

/// How far a connection has come with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The client's first packet.
    Opened,
    /// The server's first packet: the client's has arrived.
    Answered,
}

/// None for a packet that says nothing new about its connection, or if client and server are guessed. TCP is judged by its
/// handshake alone: enforcers leave connections alone that are older than the policy.
pub(super) fn progress(flow: &Flow, forwarded: &Forwarded) -> Option<Progress> {
    if flow.is_direction_a_guess || forwarded.reason != FlowReason::New {
        return None;
    }
    let flags = forwarded.flags;
    let is_handshake = |answers| flags.has(TcpFlags::SYN) && flags.has(TcpFlags::ACK) == answers;
    match (flow.is_reply?, flow.l4) {
        (false, L4::Tcp) => is_handshake(false).then_some(Progress::Opened),
        (true, L4::Tcp) => is_handshake(true).then_some(Progress::Answered),
        (false, L4::Udp) => forwarded.is_new.then_some(Progress::Opened),
        (true, L4::Udp) => Some(Progress::Answered),
        _ => None,
    }
}

/// The client of a dropped packet; none if it is guessed. A datagram of no open flow is the first of its connection.
pub(super) fn client_end(flow: &Flow) -> Option<ClientEnd> {
    if flow.is_direction_a_guess {
        return None;
    }
    let flags = flow.event.tcp_flags();
    match (flow.is_reply, flow.l4) {
        (Some(false), _) | (None, L4::Udp) => Some(ClientEnd::Source),
        (Some(true), _) => Some(ClientEnd::Destination),
        (None, _) if !flags.has(TcpFlags::SYN) => None,
        (None, _) if flags.has(TcpFlags::ACK) => Some(ClientEnd::Destination),
        (None, _) => Some(ClientEnd::Source),
    }
}

/// An `AskedConnection` that owns the names of nodes.
pub(super) struct FlowConnection<'a> {
    client: (FlowEnd<'a>, IpAddr),
    server: (FlowEnd<'a>, IpAddr),
    protocol: Protocol,
    port: u16,
}

enum FlowEnd<'a> {
    Pod(&'a str),
    Node(Arc<str>),
    External,
}

impl FlowEnd<'_> {
    fn id(&self) -> ConnectionEndId<'_> {
        match self {
            Self::Pod(uid) => ConnectionEndId::Pod(uid),
            Self::Node(name) => ConnectionEndId::Node(name),
            Self::External => ConnectionEndId::External,
        }
    }
}

impl FlowConnection<'_> {
    pub(super) fn as_asked(&self) -> AskedConnection<'_> {
        let Self { client: (client, client_ip), server: (server, server_ip), protocol, port } = self;
        AskedConnection {
            client: client.id(),
            client_ip: *client_ip,
            server: server.id(),
            server_ip: *server_ip,
            protocol: *protocol,
            port: *port,
        }
    }
}

/// None if an end is not known, or is the address of a Service: policies are about the pod behind it.
pub(super) fn asked_connection<'a>(
    flow: &'a Flow,
    client: ClientEnd,
    node: &str,
    index: &PolicyIndex,
) -> Option<FlowConnection<'a>> {
    let protocol = match flow.l4.transport()? {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    let end = |endpoint: &'a Endpoint, ip: IpAddr| Some((flow_end(endpoint, ip, node, index)?, ip));
    let source = end(&flow.source_endpoint, flow.source.ip())?;
    let destination = end(&flow.destination_endpoint, flow.destination.ip())?;
    Some(match client {
        ClientEnd::Source => {
            FlowConnection { client: source, server: destination, protocol, port: flow.destination.port() }
        }
        ClientEnd::Destination => {
            FlowConnection { client: destination, server: source, protocol, port: flow.source.port() }
        }
    })
}

fn flow_end<'a>(endpoint: &'a Endpoint, ip: IpAddr, node: &str, index: &PolicyIndex) -> Option<FlowEnd<'a>> {
    let is_group = match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    };
    if is_group {
        return None;
    }
    if !endpoint.uid.is_empty() {
        return Some(FlowEnd::Pod(&endpoint.uid));
    }
    // A Service has labels of its own.
    let reserved = endpoint.reserved_name()?;
    if reserved == Reserved::Host.name() {
        Some(FlowEnd::Node(node.into()))
    } else if reserved == Reserved::RemoteNode.name() {
        index.node_at(ip).map(FlowEnd::Node)
    } else {
        (reserved == Reserved::World.name()).then_some(FlowEnd::External)
    }
}

/// An event about the connection of a packet, from its client to its server.
pub(super) fn from_client(flow: &Flow, progress: Progress, event: Event) -> Flow {
    // Its id is as random as that of the packet's flow, and another.
    let mut verdict = Flow { event, uuid: flow.uuid ^ 1, is_reply: Some(false), ..flow.clone() };
    if progress == Progress::Answered {
        std::mem::swap(&mut verdict.source, &mut verdict.destination);
        std::mem::swap(&mut verdict.source_mac, &mut verdict.destination_mac);
        std::mem::swap(&mut verdict.source_endpoint, &mut verdict.destination_endpoint);
        std::mem::swap(&mut verdict.source_service, &mut verdict.destination_service);
    }
    verdict
}
