//! Decodes keys, counters and records of dropped packets. They come from the kernel, with bytes of packets in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use trilobite_node_ebpf::{PacketDropKey, PacketDropRecord, PacketDropValue, Record, RecordKind};
use zerocopy::FromBytes;

use crate::layers::network::{flow::L4, tcp_flags::TcpFlags};

/// Packets of one connection that were dropped at one place for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DropObservation {
    pub(super) l4: L4,
    /// Port 0 where the protocol has none, or the packet is a later fragment.
    pub(super) source: SocketAddr,
    /// As `source`.
    pub(super) destination: SocketAddr,
    /// Number of the kernel's `skb_drop_reason`; 0 where it has none.
    pub(super) reason: u32,
    /// Address behind the call that dropped them.
    pub(super) place: u64,
    /// Inode; 0 if it is not known.
    pub(super) namespace: u32,
    /// Index in that namespace; 0 if it is not known.
    pub(super) interface: u32,
    pub(super) interface_name: String,
    pub(super) connection: u64,
    pub(super) packets: u64,
    /// From the IP header on.
    pub(super) bytes: u64,
    /// Of the last packet, boot clock, nanoseconds.
    pub(super) last: u64,
    /// TCP flags of the first packet.
    pub(super) flags: TcpFlags,
}

/// The first drop of a key since the kernel changed over to the map of `generation`.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstDrop {
    pub(super) generation: u32,
    pub(super) key: PacketDropKey,
    pub(super) value: PacketDropValue,
}

/// Decodes one record; none if it is not one of this layout.
pub(super) fn decode(bytes: &[u8]) -> Option<FirstDrop> {
    Record::read(bytes).filter(|header| header.kind() == Some(RecordKind::PacketDrop))?;
    let (record, _) = PacketDropRecord::read_from_prefix(bytes).ok()?;
    Some(FirstDrop { generation: record.header.generation, key: record.key, value: record.value })
}

/// None if the addresses are of no known family.
pub(super) fn observation(key: &PacketDropKey, value: &PacketDropValue) -> Option<DropObservation> {
    let end = |bytes, port| Some(SocketAddr::new(address(bytes, key.family)?, u16::from_be(port)));
    let name = value.interface_name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(DropObservation {
        l4: l4(key),
        source: end(key.source, key.source_port)?,
        destination: end(key.destination, key.destination_port)?,
        reason: key.reason,
        place: key.place,
        namespace: key.network_namespace,
        interface: key.interface,
        interface_name: String::from_utf8_lossy(name).into_owned(),
        connection: value.connection,
        packets: value.packets,
        bytes: value.bytes,
        last: value.last,
        flags: TcpFlags(value.tcp_flags.into()),
    })
}

fn l4(key: &PacketDropKey) -> L4 {
    let icmp = |v6| L4::Icmp { v6, kind: key.icmp_type, code: key.icmp_code };
    match key.protocol {
        1 => icmp(false),
        6 => L4::Tcp,
        17 => L4::Udp,
        58 => icmp(true),
        other => L4::Other(other),
    }
}

fn address(bytes: [u8; 16], family: u8) -> Option<IpAddr> {
    match family {
        4 => Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::RECORD_LAYOUT;
    use zerocopy::IntoBytes;

    use super::*;

    /// A SYN from 10.1.0.7:40000 to 10.2.0.9:80.
    pub(in crate::layers::network::sources::drops) fn dropped_syn() -> (PacketDropKey, PacketDropValue) {
        let padded = |address: [u8; 4]| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address);
            bytes
        };
        let key = PacketDropKey {
            place: 0xffff_ffff_8100_1234,
            source: padded([10, 1, 0, 7]),
            destination: padded([10, 2, 0, 9]),
            reason: 12,
            network_namespace: 4026,
            interface: 7,
            source_port: 40000u16.to_be(),
            destination_port: 80u16.to_be(),
            protocol: 6,
            family: 4,
            ..PacketDropKey::default()
        };
        let mut value = PacketDropValue {
            packets: 3,
            bytes: 180,
            first: 5,
            last: 9,
            connection: 77,
            tcp_flags: 2,
            ..PacketDropValue::default()
        };
        value.interface_name[..5].copy_from_slice(b"veth0");
        (key, value)
    }

    fn record() -> Vec<u8> {
        let (key, value) = dropped_syn();
        let header =
            Record { layout: RECORD_LAYOUT, kind: RecordKind::PacketDrop as u16, generation: 4, ..Record::default() };
        PacketDropRecord { header, key, value }.as_bytes().to_vec()
    }

    #[test]
    fn drop_has_both_ends_reason_place_and_counts() {
        let first = decode(&record()).unwrap();
        assert_eq!(first.generation, 4);
        let dropped = observation(&first.key, &first.value).unwrap();
        assert_eq!(
            (dropped.source.to_string(), dropped.destination.to_string()),
            ("10.1.0.7:40000".into(), "10.2.0.9:80".into())
        );
        assert_eq!((dropped.l4, dropped.flags, dropped.reason), (L4::Tcp, TcpFlags::SYN, 12));
        assert_eq!((dropped.packets, dropped.bytes, dropped.last, dropped.connection), (3, 180, 9, 77));
        assert_eq!((dropped.namespace, dropped.interface, dropped.interface_name.as_str()), (4026, 7, "veth0"));
    }

    #[test]
    fn icmp_has_its_type_and_code_and_others_their_number() {
        let (key, value) = dropped_syn();
        let of = |protocol| {
            let key = PacketDropKey { protocol, icmp_type: 3, icmp_code: 4, ..key };
            observation(&key, &value).unwrap().l4
        };
        assert_eq!(of(1), L4::Icmp { v6: false, kind: 3, code: 4 });
        assert_eq!(of(58), L4::Icmp { v6: true, kind: 3, code: 4 });
        assert_eq!(of(132), L4::Other(132));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn record_with_a_changed_byte_is_read_or_refused(
            at in 0usize..size_of::<PacketDropRecord>(),
            to in any::<u8>(),
            cut in 0usize..size_of::<PacketDropRecord>(),
        ) {
            let mut bytes = record();
            bytes[at] = to;
            if let Some(first) = decode(&bytes) {
                let _ = observation(&first.key, &first.value);
            }
            prop_assert!(decode(&bytes[..cut]).is_none());
        }
    }
}
