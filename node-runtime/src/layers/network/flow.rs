//! One flow as the agent keeps it: small, and sharing what many flows have in common. Hubble's message is made from it
//! when somebody asks.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use trilobite_node_ebpf::flow::{FlowReason, PacketsBytes};

use super::{
    end::{End, Service},
    record::Transport,
    tcp_flags::TcpFlags,
};

/// Where the packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A pod sent it; what becomes of it is not known.
    ToStack,
    /// A pod gets it.
    ToEndpoint,
    /// The machine received it.
    FromNetwork,
    /// The machine sends it.
    ToNetwork,
}

/// The connection, as the end that is watched sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Began {
    /// Somebody else began it.
    Ingress,
    /// The watched end began it.
    Egress,
}

/// An interface by index and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interface {
    /// As the kernel numbers it.
    pub index: u32,
    /// As the kernel names it.
    pub name: String,
}

/// One observation of one direction of one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Wall clock.
    pub time: Timestamp,
    /// Unique.
    pub uuid: u128,
    /// Of the packet.
    pub transport: Transport,
    /// Of the packet.
    pub source: SocketAddr,
    /// Of the packet.
    pub destination: SocketAddr,
    /// Of the packet; zero where there is none.
    pub source_mac: [u8; 6],
    /// Of the packet; zero where there is none.
    pub destination_mac: [u8; 6],
    /// Of the packet, TCP only; none where no packet made the record.
    pub flags: TcpFlags,
    /// Of the flow so far, TCP only.
    pub flags_seen: TcpFlags,
    /// Why it is told.
    pub reason: FlowReason,
    /// Who sent it.
    pub source_end: Arc<End>,
    /// Who gets it.
    pub destination_end: Arc<End>,
    /// The Service that the source address is.
    pub source_service: Option<Arc<Service>>,
    /// The Service that the destination address is.
    pub destination_service: Option<Arc<Service>>,
    /// The source is not the end that began.
    pub is_reply: bool,
    /// Nothing of the connection was seen before.
    pub is_new: bool,
    /// Who began, from the watched end.
    pub began: Began,
    /// Where it was seen.
    pub point: Point,
    /// Through what.
    pub interface: Arc<Interface>,
    /// Joins this flow with others of the same connection.
    pub connection: u64,
    /// Counted since the last time this flow was told.
    pub since: PacketsBytes,
    /// Counted since the flow began.
    pub total: PacketsBytes,
}

impl Flow {
    /// What a person reads first. Hubble's words for a packet; at the end there is none, and the sums stand in its place, nor
    /// is there one where a flow fell silent with something untold.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match (self.transport, self.reason) {
            (Transport::Tcp, FlowReason::End) => {
                write!(text, "TCP ended: {} packets, {} bytes", self.total.packets, self.total.bytes)
            }
            (Transport::Udp, FlowReason::End) => {
                write!(text, "UDP ended: {} packets, {} bytes", self.total.packets, self.total.bytes)
            }
            (Transport::Tcp, FlowReason::Active) if self.flags == TcpFlags::default() => {
                write!(text, "TCP so far: {} packets, {} bytes", self.total.packets, self.total.bytes)
            }
            (Transport::Tcp, _) => write!(text, "TCP Flags: {}", self.flags),
            (Transport::Udp, _) => write!(text, "UDP"),
        };
        text
    }

    /// A port of either end is one of `ports`.
    pub fn has_port(&self, ports: &[u16]) -> bool {
        ports.contains(&self.source.port()) || ports.contains(&self.destination.port())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn syn() -> Flow {
        let end = |identity, namespace: &str, pod: &str, labels: &[&str]| {
            Arc::new(End {
                identity,
                namespace: namespace.into(),
                pod: pod.into(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                workload: Some((pod.trim_end_matches("-1").into(), "Deployment".into())),
            })
        };
        Flow {
            time: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
            uuid: 0x0123_4567_89ab_4def_8123_4567_89ab_cdef,
            transport: Transport::Tcp,
            source: "10.1.0.7:40000".parse().unwrap(),
            destination: "10.2.0.9:80".parse().unwrap(),
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            flags: TcpFlags::SYN,
            flags_seen: TcpFlags::SYN,
            reason: FlowReason::New,
            source_end: end(1001, "shop", "front-1", &["k8s:app=front", "k8s:io.kubernetes.pod.namespace=shop"]),
            destination_end: end(1002, "store", "cart-1", &["k8s:app=cart", "k8s:io.kubernetes.pod.namespace=store"]),
            source_service: None,
            destination_service: Some(Arc::new(Service {
                name: "cart".into(),
                namespace: "store".into(),
                end: Arc::default(),
            })),
            is_reply: false,
            is_new: true,
            began: Began::Egress,
            point: Point::ToStack,
            interface: Arc::new(Interface { index: 12, name: "veth0".into() }),
            connection: 99,
            since: PacketsBytes { packets: 1, bytes: 74 },
            total: PacketsBytes { packets: 1, bytes: 74 },
        }
    }

    #[test]
    fn a_summary_reads_as_hubble_words_it_and_an_end_gives_the_sums() {
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
    }
}
