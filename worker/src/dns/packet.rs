//! Decodes a record of the ring: a packet from or to port 53. Not here: what its bytes mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use trilobite_node_ebpf::{DnsRecord, FlowDirection, FlowKey, Record, RecordKind};
use zerocopy::FromBytes;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where a packet was, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PacketPath {
    pub(super) interface: u32,
    /// The interface received it; else it sent it.
    pub(super) received: bool,
    pub(super) tcp: bool,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// A packet with bytes of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsPacket<'a> {
    /// Boot clock, nanoseconds.
    pub(super) time: u64,
    pub(super) connection: u64,
    pub(super) path: PacketPath,
    /// TCP: of the first byte.
    pub(super) sequence: u32,
    /// Bytes of the packet, copied or not.
    pub(super) length: u32,
    pub(super) bytes: &'a [u8],
}

impl<'a> DnsPacket<'a> {
    /// None if it is not a record of this layout.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = Record::read(bytes).filter(|header| header.kind() == Some(RecordKind::Dns))?;
        let (record, rest) = DnsRecord::read_from_prefix(bytes).ok()?;
        // The ring's room for a record is larger than the record.
        let copied = usize::try_from(record.copied).ok()?;
        let is_whole = size_of::<DnsRecord>() + copied == usize::try_from(header.size).ok()?;
        let copied = rest.get(..copied).filter(|_| is_whole && record.copied <= record.length)?;
        Some(Self {
            time: header.time,
            connection: header.connection,
            path: path(&record.key)?,
            sequence: record.sequence,
            length: record.length,
            bytes: copied,
        })
    }
}

fn path(key: &FlowKey) -> Option<PacketPath> {
    let end = |bytes, port| Some(SocketAddr::new(address(bytes, key.family)?, u16::from_be(port)));
    Some(PacketPath {
        interface: key.interface,
        received: FlowDirection::from_number(key.direction)? == FlowDirection::In,
        tcp: match key.protocol {
            TCP => true,
            UDP => false,
            _ => return None,
        },
        source: end(key.source, key.source_port)?,
        destination: end(key.destination, key.destination_port)?,
    })
}

fn address(bytes: [u8; 16], family: u8) -> Option<IpAddr> {
    match family {
        4 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::RECORD_LAYOUT;
    use zerocopy::IntoBytes;

    use super::*;

    /// A record from 10.1.0.7:40000 to 10.9.0.10:53, received by interface 12, with room behind it.
    pub(in crate::dns) fn record(bytes: &[u8]) -> Vec<u8> {
        let padded = |address: [u8; 4]| std::array::from_fn(|at| address.get(at).copied().unwrap_or_default());
        let record = DnsRecord {
            header: Record {
                layout: RECORD_LAYOUT,
                kind: RecordKind::Dns as u16,
                size: (size_of::<DnsRecord>() + bytes.len()) as u32,
                time: 5,
                connection: 77,
                ..Record::default()
            },
            key: FlowKey {
                source: padded([10, 1, 0, 7]),
                destination: padded([10, 9, 0, 10]),
                interface: 12,
                source_port: 40000u16.to_be(),
                destination_port: 53u16.to_be(),
                protocol: UDP,
                family: 4,
                direction: FlowDirection::In as u8,
                ..FlowKey::default()
            },
            length: bytes.len() as u32,
            copied: bytes.len() as u32,
            ..DnsRecord::default()
        };
        [record.as_bytes(), bytes, &[0xee; 16]].concat()
    }

    #[test]
    fn packet_has_its_ends_and_its_bytes_alone() {
        let record = record(b"query");
        let packet = DnsPacket::parse(&record).unwrap();
        let path = PacketPath {
            interface: 12,
            received: true,
            tcp: false,
            source: "10.1.0.7:40000".parse().unwrap(),
            destination: "10.9.0.10:53".parse().unwrap(),
        };
        assert_eq!((packet.time, packet.connection, packet.path), (5, 77, path));
        assert_eq!((packet.bytes, packet.length), (&b"query"[..], 5));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = DnsPacket::parse(&bytes);
        }

        #[test]
        fn changed_record_is_refused_or_fits(at in 0..size_of::<DnsRecord>(), to: u8, cut in 0usize..200) {
            let mut bytes = record(b"query");
            bytes[at] = to;
            if let Some(packet) = DnsPacket::parse(&bytes) {
                prop_assert!(packet.bytes.len() <= bytes.len() - size_of::<DnsRecord>());
            }
            let _ = DnsPacket::parse(&bytes[..cut.min(bytes.len())]);
        }
    }
}
