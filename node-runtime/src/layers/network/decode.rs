//! Decodes flow records. They may come from an object that is older than the agent, so every field is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use trilobite_node_ebpf::{FlowDirection, FlowKey, FlowReason, FlowRecord, Record, RecordKind};
use zerocopy::FromBytes;

pub use super::transport::Transport;
use super::{
    flow::{L4, is_icmp_answer},
    icmp_error::IcmpError,
    tcp_flags::TcpFlags,
};

/// One direction of one connection, as an interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowTuple {
    pub interface: u32,
    pub direction: FlowDirection,
    pub l4: L4,
    /// Of ICMP, the port of the end that asks is the identifier, that of the other end the message: see `icmp.h`.
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl FlowTuple {
    /// Source and destination, port 0 where the protocol has none.
    pub fn ends(&self) -> [SocketAddr; 2] {
        let has_ports = self.l4.transport().is_some();
        [self.source, self.destination].map(|end| if has_ports { end } else { SocketAddr::new(end.ip(), 0) })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowObservation {
    pub tuple: FlowTuple,
    /// Why the kernel wrote a record.
    pub reason: FlowReason,
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Same for both directions and on every interface that does not rewrite addresses.
    pub connection: u64,
    /// TCP flags of the packet that made the record.
    pub flags: TcpFlags,
    /// TCP flags of the flow so far.
    pub flags_seen: TcpFlags,
    /// The last ICMP error that answered a packet of the flow.
    pub icmp_error: Option<IcmpError>,
    /// Of the flow so far.
    pub packets: u64,
    /// Of the flow so far, with link headers.
    pub bytes: u64,
    /// First packet, boot clock, nanoseconds.
    pub first: u64,
    /// Last packet, boot clock, nanoseconds.
    pub last: u64,
    /// Zero if no packet made the record, or the link has no addresses.
    pub source_mac: [u8; 6],
    /// As `source_mac`.
    pub destination_mac: [u8; 6],
}

/// Decodes one record; none if it is not one of this layout.
pub fn decode(bytes: &[u8]) -> Option<FlowObservation> {
    Record::read(bytes).filter(|header| header.kind() == Some(RecordKind::Flow))?;
    let (record, _) = FlowRecord::read_from_prefix(bytes).ok()?;
    Some(FlowObservation {
        tuple: tuple(&record.key)?,
        reason: FlowReason::from_number(record.reason)?,
        time: record.header.time,
        connection: record.header.connection,
        flags: TcpFlags(record.flags),
        flags_seen: TcpFlags(record.flags_seen),
        icmp_error: (record.icmp_type != 0).then_some(IcmpError {
            is_v6: record.key.family == 6,
            kind: record.icmp_type,
            code: record.icmp_code,
        }),
        packets: record.packets,
        bytes: record.bytes,
        first: record.first,
        last: record.last,
        source_mac: record.source_mac,
        destination_mac: record.destination_mac,
    })
}

/// Decodes a key of the kernel's flow map; none if its protocol, family or direction is not supported.
pub fn tuple(key: &FlowKey) -> Option<FlowTuple> {
    let end = |bytes, port| Some(SocketAddr::new(address(bytes, key.family)?, u16::from_be(port)));
    Some(FlowTuple {
        interface: key.interface,
        direction: FlowDirection::from_number(key.direction)?,
        l4: l4(key)?,
        source: end(key.source, key.source_port)?,
        destination: end(key.destination, key.destination_port)?,
    })
}

fn l4(key: &FlowKey) -> Option<L4> {
    let v6 = key.family == 6;
    Some(match (key.protocol, v6) {
        (6, _) => L4::Tcp,
        (17, _) => L4::Udp,
        (1, false) | (58, true) => {
            let kind = key.icmp_type;
            let message = if is_icmp_answer(v6, kind) { key.source_port } else { key.destination_port };
            let [_, code] = u16::from_be(message).to_be_bytes();
            L4::Icmp { v6, kind, code }
        }
        _ => return None,
    })
}

fn address(bytes: [u8; 16], family: u8) -> Option<IpAddr> {
    match family {
        4 => Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

#[cfg(test)]
impl FlowObservation {
    /// The first packet of a TCP flow with these flags, from one end to the other.
    pub(super) fn first(source: &str, destination: &str, direction: FlowDirection, flags: u16) -> Self {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Self {
            tuple: FlowTuple { interface: 12, direction, l4: L4::Tcp, source, destination },
            reason: FlowReason::New,
            time: 5,
            connection: 1,
            flags: TcpFlags(flags),
            flags_seen: TcpFlags(flags),
            icmp_error: None,
            packets: 1,
            bytes: 74,
            first: 5,
            last: 5,
            source_mac: [0; 6],
            destination_mac: [0; 6],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::RECORD_LAYOUT;
    use zerocopy::IntoBytes;

    use super::*;

    const RECORD: usize = size_of::<FlowRecord>();

    fn padded(address: [u8; 4]) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address);
        bytes
    }

    fn syn_of_a_browser() -> Vec<u8> {
        let header = Record { layout: RECORD_LAYOUT, kind: RecordKind::Flow as u16, time: 77, ..Record::default() };
        let key = FlowKey {
            source: padded([10, 1, 0, 7]),
            destination: padded([10, 2, 0, 9]),
            interface: 12,
            source_port: 40000u16.to_be(),
            destination_port: 80u16.to_be(),
            protocol: 6,
            family: 4,
            direction: FlowDirection::In as u8,
            ..FlowKey::default()
        };
        let reason = FlowReason::New as u8;
        let record = FlowRecord { header, key, flags: 2, packets: 1, bytes: 74, reason, ..FlowRecord::default() };
        record.as_bytes().to_vec()
    }

    #[test]
    fn record_has_addresses_direction_and_counts() {
        let observation = decode(&syn_of_a_browser()).unwrap();
        assert_eq!(observation.tuple.source.to_string(), "10.1.0.7:40000");
        assert_eq!(observation.tuple.destination.to_string(), "10.2.0.9:80");
        assert_eq!((observation.tuple.interface, observation.tuple.direction), (12, FlowDirection::In));
        assert_eq!((observation.reason, observation.flags, observation.time), (FlowReason::New, TcpFlags::SYN, 77));
        assert_eq!((observation.packets, observation.bytes), (1, 74));
    }

    #[test]
    fn record_of_a_refused_packet_has_the_error() {
        let mut record = FlowRecord::read_from_bytes(&syn_of_a_browser()).unwrap();
        (record.reason, record.icmp_type, record.icmp_code) = (FlowReason::Error as u8, 3, 3);
        let observation = decode(record.as_bytes()).unwrap();
        assert_eq!(observation.icmp_error, Some(IcmpError { is_v6: false, kind: 3, code: 3 }));
    }

    #[test]
    fn message_of_icmp_is_read_from_the_port_of_the_end_that_answers() {
        let id = 0x1234_u16;
        for (family, protocol, icmp_type, ports, expected) in [
            (4, 1, 8, (id, 0x0800), (false, 8, 0)),
            (4, 1, 0, (0x0807, id), (false, 0, 7)),
            (4, 1, 3, (0, 0x0303), (false, 3, 3)),
            (6, 58, 129, (0x8000, id), (true, 129, 0)),
            (6, 58, 135, (0, 0x8700), (true, 135, 0)),
        ] {
            let (source_port, destination_port) = (ports.0.to_be(), ports.1.to_be());
            let key = FlowKey { family, protocol, icmp_type, source_port, destination_port, ..FlowKey::default() };
            let tuple = tuple(&key).unwrap();
            let (v6, kind, code) = expected;
            assert_eq!(tuple.l4, L4::Icmp { v6, kind, code });
            assert_eq!(tuple.ends().map(|end| end.port()), [0, 0]);
        }
        // The other family's ICMP is none.
        assert_eq!(tuple(&FlowKey { family: 6, protocol: 1, ..FlowKey::default() }), None);
    }

    #[test]
    fn record_of_another_layout_is_refused() {
        let mut bytes = syn_of_a_browser();
        bytes[0] ^= 0x80;
        assert_eq!(decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn record_with_a_changed_byte_is_read_or_refused(at in 0usize..RECORD, to in any::<u8>(), cut in 0usize..RECORD) {
            let mut bytes = syn_of_a_browser();
            bytes[at] = to;
            let _ = decode(&bytes);
            prop_assert_eq!(decode(&bytes[..cut]), None);
        }
    }
}
