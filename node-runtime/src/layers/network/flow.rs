//! One flow as the agent keeps it: small, and sharing what many flows have in common. Hubble's message is made from it
//! for each reader.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use trilobite_node_ebpf::{FlowReason, PacketsBytes};

use super::{
    decode::Transport,
    endpoint::{Endpoint, Service},
    icmp_error::IcmpError,
    tcp_flags::TcpFlags,
};

/// Where the packet was seen, in Hubble's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservationPoint {
    /// A pod sent it; whether it arrives is unknown.
    ToStack,
    /// A pod receives it.
    ToEndpoint,
    /// The machine received it.
    FromNetwork,
    /// The machine sends it.
    ToNetwork,
}

/// Direction of the connection for the watched endpoint, the same for both directions of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    /// The watched endpoint is the server.
    Ingress,
    /// The watched endpoint is the client.
    Egress,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interface {
    pub index: u32,
    pub name: String,
}

/// One observation of one direction of one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Wall clock: of the packet, or of the sweep that made the record.
    pub time: Timestamp,
    /// Time of the first packet.
    pub first: Timestamp,
    /// Time of the last packet.
    pub last: Timestamp,
    /// Unique.
    pub uuid: u128,
    pub transport: Transport,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Zero if the record has no packet, or the packet no link header.
    pub source_mac: [u8; 6],
    /// As `source_mac`.
    pub destination_mac: [u8; 6],
    /// TCP flags of the packet; none if the record has no packet.
    pub flags: TcpFlags,
    /// TCP flags of the flow so far.
    pub flags_seen: TcpFlags,
    /// The last ICMP error that answered a packet of this flow.
    pub icmp_error: Option<IcmpError>,
    /// Why the kernel wrote a record.
    pub reason: FlowReason,
    pub source_endpoint: Arc<Endpoint>,
    pub destination_endpoint: Arc<Endpoint>,
    /// The Service that has the source address.
    pub source_service: Option<Arc<Service>>,
    /// The Service that has the destination address.
    pub destination_service: Option<Arc<Service>>,
    /// From the server to the client.
    pub is_reply: bool,
    /// Which end is the client is guessed, from the port numbers or from the first packet that was seen.
    pub is_direction_a_guess: bool,
    /// The first flow of its connection.
    pub is_new: bool,
    pub direction: TrafficDirection,
    pub observation_point: ObservationPoint,
    pub interface: Arc<Interface>,
    /// Joins this flow with others of the same connection.
    pub connection: u64,
    /// Counted since the last record of this flow.
    pub since: PacketsBytes,
    /// Counted since the flow began.
    pub total: PacketsBytes,
}

impl Flow {
    /// One line for people. Hubble's words if the record has a packet, the totals if it has none.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_summary(&mut text);
        text
    }

    /// As `summary`, appended to `out`.
    pub fn write_summary(&self, out: &mut impl Write) -> std::fmt::Result {
        let protocol = match self.transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        };
        let PacketsBytes { packets, bytes } = self.total;
        match (self.transport, self.reason) {
            (_, FlowReason::Error) => {
                let error = self.icmp_error.unwrap_or_default();
                let outcome = if error.is_refusal() { "refused" } else { "failed" };
                write!(out, "{protocol} {outcome}: {}", error.text())
            }
            (_, FlowReason::End) => write!(out, "{protocol} ended: {packets} packets, {bytes} bytes"),
            (Transport::Tcp, FlowReason::Active) if self.flags == TcpFlags::default() => {
                write!(out, "{protocol} so far: {packets} packets, {bytes} bytes")
            }
            (Transport::Tcp, _) => write!(out, "{protocol} Flags: {}", self.flags),
            (Transport::Udp, _) => out.write_str(protocol),
        }
    }

    /// Either port is one of `ports`.
    pub fn has_port(&self, ports: &[u16]) -> bool {
        ports.contains(&self.source.port()) || ports.contains(&self.destination.port())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn syn() -> Flow {
        let endpoint = |identity, namespace: &str, pod: &str, labels: &[&str]| {
            Arc::new(Endpoint {
                identity,
                namespace: namespace.into(),
                pod: pod.into(),
                uid: pod.into(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                workload: Some((pod.trim_end_matches("-1").into(), "Deployment".into())),
            })
        };
        Flow {
            time: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
            first: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
            last: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
            uuid: 0x0123_4567_89ab_4def_8123_4567_89ab_cdef,
            transport: Transport::Tcp,
            source: "10.1.0.7:40000".parse().unwrap(),
            destination: "10.2.0.9:80".parse().unwrap(),
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            flags: TcpFlags::SYN,
            flags_seen: TcpFlags::SYN,
            icmp_error: None,
            reason: FlowReason::New,
            source_endpoint: endpoint(
                1001,
                "shop",
                "front-1",
                &["k8s:app=front", "k8s:io.kubernetes.pod.namespace=shop"],
            ),
            destination_endpoint: endpoint(
                1002,
                "store",
                "cart-1",
                &["k8s:app=cart", "k8s:io.kubernetes.pod.namespace=store"],
            ),
            source_service: None,
            destination_service: Some(Arc::new(Service {
                name: "cart".into(),
                namespace: "store".into(),
                endpoint: Arc::default(),
            })),
            is_reply: false,
            is_direction_a_guess: false,
            is_new: true,
            direction: TrafficDirection::Egress,
            observation_point: ObservationPoint::ToStack,
            interface: Arc::new(Interface { index: 12, name: "veth0".into() }),
            connection: 99,
            since: PacketsBytes { packets: 1, bytes: 74 },
            total: PacketsBytes { packets: 1, bytes: 74 },
        }
    }

    #[test]
    fn summary_matches_hubble_and_totals_are_shown_at_the_end() {
        let mut flow = syn();
        assert_eq!(flow.summary(), "TCP Flags: SYN");
        flow.reason = FlowReason::End;
        assert_eq!(flow.summary(), "TCP ended: 1 packets, 74 bytes");
        flow.reason = FlowReason::Active;
        assert_eq!(flow.summary(), "TCP Flags: SYN");
        flow.flags = TcpFlags::default();
        assert_eq!(flow.summary(), "TCP so far: 1 packets, 74 bytes");
        flow.reason = FlowReason::New;
        flow.transport = Transport::Udp;
        assert_eq!(flow.summary(), "UDP");
        flow.reason = FlowReason::Error;
        flow.icmp_error = Some(IcmpError { is_v6: false, kind: 3, code: 3 });
        assert_eq!(flow.summary(), "UDP refused: port unreachable");
    }
}
