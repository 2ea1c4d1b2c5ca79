//! Decodes a record of the data ring: one call of a process on a socket. Not here: what its bytes mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use trilobite_node_ebpf::{DataRecord, Record, RecordKind, data_flag};
use trilobite_protocols::{Role, Side, Transport};
use trilobite_tables::Upid;
use zerocopy::FromBytes;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UDP: u8 = 17;

/// A call that sent or received, a piece of one, or the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataCall<'a> {
    /// After the call, boot clock.
    pub(super) time: u64,
    pub(super) process: Upid,
    /// The process's leaf cgroup.
    pub(super) cgroup: u64,
    /// Key of the connection; 0: plain text whose socket is not known.
    pub(super) connection: u64,
    /// Number of the socket, or of the object of a TLS library. No other has it, also none that comes later.
    pub(super) stream: u64,
    /// Plain text of a TLS library.
    pub(super) is_tls: bool,
    pub(super) side: Side,
    /// Offset of the first byte in its direction.
    pub(super) position: u64,
    /// Number of the piece in its call, from 0.
    pub(super) piece: u8,
    /// Bytes of the call, or of the piece, copied or not.
    pub(super) length: u64,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) transport: Transport,
    /// None: the socket was open before.
    pub(super) role: Option<Role>,
    /// The connection has ended.
    pub(super) ended: bool,
    pub(super) mid_stream: bool,
    /// The kernel program did not know whether the cgroup is selected.
    pub(super) undecided: bool,
    /// The first of these bytes.
    pub(super) bytes: &'a [u8],
    /// The whole record.
    pub(super) record: &'a [u8],
}

impl<'a> DataCall<'a> {
    /// None if these bytes are not a data record of this layout.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let record = Record::read(bytes).filter(|record| record.kind() == Some(RecordKind::Data))?;
        let (data, copied) = DataRecord::read_from_prefix(bytes).ok()?;
        let copied = copied.get(..data.copied as usize).filter(|_| data.copied <= data.length && data.stream != 0)?;
        let has = |flag: u32| u32::from(data.flags) & flag != 0;
        let role = match (has(data_flag::CLIENT), has(data_flag::SERVER)) {
            (true, false) => Some(Role::Client),
            (false, true) => Some(Role::Server),
            _ => None,
        };
        Some(Self {
            time: record.time,
            process: Upid { asid: 0, pid: record.exec_pid, start: record.exec_ktime },
            cgroup: record.cgroup,
            connection: record.connection,
            stream: data.stream,
            is_tls: has(data_flag::TLS),
            side: if has(data_flag::SENT) { Side::Sent } else { Side::Received },
            position: data.position,
            piece: data.piece,
            length: data.length.into(),
            local: endpoint(data.family, data.local, data.local_port),
            remote: endpoint(data.family, data.remote, data.remote_port),
            transport: if data.protocol == UDP { Transport::Datagram } else { Transport::Stream },
            role,
            ended: has(data_flag::END),
            mid_stream: has(data_flag::MID_STREAM),
            undecided: has(data_flag::UNDECIDED),
            bytes: copied,
            record: bytes,
        })
    }
}

/// None if the port is not known, as of a receiver's peer over UDP, or for a unix socket.
fn endpoint(family: u8, address: [u8; 16], port: u16) -> Option<SocketAddr> {
    let ip: IpAddr = match family {
        AF_INET => Ipv4Addr::new(address[0], address[1], address[2], address[3]).into(),
        AF_INET6 => Ipv6Addr::from(address).to_canonical(),
        _ => return None,
    };
    (port != 0).then(|| (ip, port).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::RECORD_LAYOUT;

    use super::{
        super::record_fixtures::{header, record},
        *,
    };

    const HEADER: usize = size_of::<DataRecord>();

    #[test]
    fn call_is_read_with_its_process_and_ends() {
        let flags = (data_flag::SENT | data_flag::SERVER | data_flag::MID_STREAM) as u8;
        let bytes = record(&DataRecord { flags, ..header(9, 100, b"HTTP/1.1 200") }, b"HTTP/1.1 200");
        let call = DataCall::parse(&bytes).unwrap();
        assert_eq!((call.connection, call.stream, call.position), (9, 9, 100));
        assert_eq!((call.length, call.bytes), (12, &b"HTTP/1.1 200"[..]));
        assert_eq!((call.side, call.role, call.transport), (Side::Sent, Some(Role::Server), Transport::Stream));
        assert_eq!((call.process.pid, call.process.start, call.cgroup), (4321, 55, 77));
        assert_eq!(call.local, "10.0.0.7:8080".parse().ok());
        assert_eq!(call.remote, "10.0.0.9:41000".parse().ok());
        assert!(call.mid_stream && !call.is_tls && !call.ended && !call.undecided);
    }

    #[test]
    fn unknown_peer_and_unix_socket_have_no_address() {
        let udp = record(&DataRecord { protocol: UDP, remote_port: 0, ..header(9, 0, b"") }, b"");
        let call = DataCall::parse(&udp).unwrap();
        assert_eq!((call.remote, call.transport, call.role), (None, Transport::Datagram, None));
        let unix = record(&DataRecord { family: 1, protocol: 0, ..header(9, 0, b"") }, b"");
        assert_eq!(DataCall::parse(&unix).unwrap().local, None);
    }

    #[test]
    fn ipv4_over_an_ipv6_socket_is_shown_as_ipv4() {
        let mapped = Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().octets();
        assert_eq!(endpoint(AF_INET6, mapped, 53), "10.1.2.3:53".parse().ok());
    }

    #[test]
    fn call_of_no_stream_or_with_too_many_bytes_is_malformed() {
        let longer = DataRecord { copied: 5, length: 5, ..header(9, 0, b"abcd") };
        assert_eq!(DataCall::parse(&record(&longer, b"abcd")), None);
        let wrong = DataRecord { length: 3, ..header(9, 0, b"abcd") };
        assert_eq!(DataCall::parse(&record(&wrong, b"abcd")), None);
        let nowhere = DataRecord { stream: 0, ..header(9, 0, b"abcd") };
        assert_eq!(DataCall::parse(&record(&nowhere, b"abcd")), None);
    }

    proptest! {
        #[test]
        fn wild_bytes_are_no_call_or_one_that_fits(mut bytes in prop::collection::vec(any::<u8>(), 0..400), named: bool) {
            if named && bytes.len() > 8 {
                bytes[4..8].fill(0);
                bytes[0..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
                bytes[2..4].copy_from_slice(&(RecordKind::Data as u16).to_ne_bytes());
            }
            if let Some(call) = DataCall::parse(&bytes) {
                prop_assert!(HEADER + call.bytes.len() <= bytes.len() && call.bytes.len() as u64 <= call.length);
            }
        }
    }
}
