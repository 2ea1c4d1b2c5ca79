//! Decodes flow records. The bytes come from the kernel, of an object that may be older than the agent: nothing is taken
//! on trust but that a slice is a slice.

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use trilobite_node_ebpf::{
    flow::{FlowDirection, FlowKey, FlowReason, FlowRecord},
    record::RecordKind,
};

use super::tcp_flags::TcpFlags;
use crate::{identity::decode::header, kernel::Fields};

/// The protocols that have flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One direction of one connection, as an interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Index of the interface.
    pub interface: u32,
    /// Which way through it.
    pub direction: FlowDirection,
    /// Of the packet.
    pub transport: Transport,
    /// Of the packet.
    pub source: SocketAddr,
    /// Of the packet.
    pub destination: SocketAddr,
}

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Which flow.
    pub tuple: Tuple,
    /// Why it is told.
    pub reason: FlowReason,
    /// When, boot clock, nanoseconds.
    pub time: u64,
    /// Same for both directions and on every interface that does not rewrite addresses.
    pub connection: u64,
    /// TCP flags of the packet that made the record.
    pub flags: TcpFlags,
    /// TCP flags so far.
    pub flags_seen: TcpFlags,
    /// So far.
    pub packets: u64,
    /// So far, with link headers.
    pub bytes: u64,
    /// First packet, boot clock, nanoseconds.
    pub first: u64,
    /// Last packet, boot clock, nanoseconds.
    pub last: u64,
    /// Zero at the end and where the link has none.
    pub source_mac: [u8; 6],
    /// As `source_mac`.
    pub destination_mac: [u8; 6],
}

/// One record; none if it is not one of this layout.
pub fn decode(bytes: &[u8]) -> Option<Observed> {
    let header = header(bytes).filter(|header| header.kind == RecordKind::Flow as u16)?;
    let fields = Fields(bytes.get(..size_of::<FlowRecord>())?);
    let [reason] = fields.array(offset_of!(FlowRecord, reason))?;
    Some(Observed {
        tuple: tuple(&bytes[offset_of!(FlowRecord, key)..])?,
        reason: match reason {
            1 => FlowReason::New,
            2 => FlowReason::Flag,
            3 => FlowReason::Active,
            4 => FlowReason::End,
            _ => return None,
        },
        time: header.time,
        connection: header.connection,
        flags: TcpFlags(fields.u16(offset_of!(FlowRecord, flags))?),
        flags_seen: TcpFlags(fields.u16(offset_of!(FlowRecord, flags_seen))?),
        packets: fields.u64(offset_of!(FlowRecord, packets))?,
        bytes: fields.u64(offset_of!(FlowRecord, bytes))?,
        first: fields.u64(offset_of!(FlowRecord, first))?,
        last: fields.u64(offset_of!(FlowRecord, last))?,
        source_mac: fields.array(offset_of!(FlowRecord, source_mac))?,
        destination_mac: fields.array(offset_of!(FlowRecord, destination_mac))?,
    })
}

/// A key of the kernel's flow map; none if it names no protocol, family or direction of ours.
pub fn tuple(key: &[u8]) -> Option<Tuple> {
    let fields = Fields(key);
    let byte = |at| fields.array(at).map(|[byte]: [u8; 1]| byte);
    let family = byte(offset_of!(FlowKey, family))?;
    let end = |address_at, port_at| {
        let port = u16::from_be_bytes(fields.array(port_at)?);
        Some(SocketAddr::new(address(fields.array(address_at)?, family)?, port))
    };
    Some(Tuple {
        interface: fields.u32(offset_of!(FlowKey, interface))?,
        direction: direction(byte(offset_of!(FlowKey, direction))?)?,
        transport: match byte(offset_of!(FlowKey, protocol))? {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return None,
        },
        source: end(offset_of!(FlowKey, source), offset_of!(FlowKey, source_port))?,
        destination: end(offset_of!(FlowKey, destination), offset_of!(FlowKey, destination_port))?,
    })
}

/// A number of `enum flow_direction`.
pub fn direction(number: u8) -> Option<FlowDirection> {
    match number {
        0 => Some(FlowDirection::In),
        1 => Some(FlowDirection::Out),
        _ => None,
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
impl Observed {
    /// The first packet of a TCP flow with these flags, from one end to the other.
    pub(super) fn first(source: &str, destination: &str, direction: FlowDirection, flags: u16) -> Self {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Self {
            tuple: Tuple { interface: 12, direction, transport: Transport::Tcp, source, destination },
            reason: FlowReason::New,
            time: 5,
            connection: 1,
            flags: TcpFlags(flags),
            flags_seen: TcpFlags(flags),
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
    use trilobite_node_ebpf::limits::RECORD_LAYOUT;

    use super::*;

    const RECORD: usize = size_of::<FlowRecord>();
    const HEADER: usize = offset_of!(FlowRecord, key);

    fn syn_of_a_browser() -> Vec<u8> {
        let mut bytes = vec![0; RECORD];
        bytes[0..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
        bytes[2..4].copy_from_slice(&(RecordKind::Flow as u16).to_ne_bytes());
        bytes[8..16].copy_from_slice(&77u64.to_ne_bytes());
        let key = &mut bytes[HEADER..];
        key[0..4].copy_from_slice(&[10, 1, 0, 7]);
        key[16..20].copy_from_slice(&[10, 2, 0, 9]);
        key[32..36].copy_from_slice(&12u32.to_ne_bytes());
        key[36..38].copy_from_slice(&40000u16.to_be_bytes());
        key[38..40].copy_from_slice(&80u16.to_be_bytes());
        (key[40], key[41], key[42]) = (6, 4, 0);
        key[44..46].copy_from_slice(&2u16.to_ne_bytes());
        key[48..56].copy_from_slice(&1u64.to_ne_bytes());
        key[56..64].copy_from_slice(&74u64.to_ne_bytes());
        key[92] = 1;
        bytes
    }

    #[test]
    fn a_record_says_who_talks_to_whom() {
        let observed = decode(&syn_of_a_browser()).unwrap();
        assert_eq!(observed.tuple.source.to_string(), "10.1.0.7:40000");
        assert_eq!(observed.tuple.destination.to_string(), "10.2.0.9:80");
        assert_eq!((observed.tuple.interface, observed.tuple.direction), (12, FlowDirection::In));
        assert_eq!((observed.reason, observed.flags, observed.time), (FlowReason::New, TcpFlags::SYN, 77));
        assert_eq!((observed.packets, observed.bytes), (1, 74));
    }

    #[test]
    fn a_record_of_another_layout_is_not_read() {
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
        fn a_record_with_any_byte_changed_is_read_or_refused(at in 0usize..RECORD, to in any::<u8>(), cut in 0usize..RECORD) {
            let mut bytes = syn_of_a_browser();
            bytes[at] = to;
            let _ = decode(&bytes);
            prop_assert_eq!(decode(&bytes[..cut]), None);
        }
    }
}
