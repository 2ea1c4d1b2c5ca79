//! Ports, addresses, and the names of protocols, address families and TCP states.

use std::net::IpAddr;

use super::number::{NumberRange, range};

/// The addresses that begin with some bits of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    /// An address of the network.
    pub address: IpAddr,
    /// Number of bits that all its addresses share.
    pub bits: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|digit| digit.is_ascii_digit());
        let bits = match bits {
            Some(bits) => Some(bits).filter(is_number)?.parse().ok().filter(|bits| *bits <= all)?,
            None => all,
        };
        Some(Self { address, bits })
    }

    /// Whether an address is in the network. An IPv4 network has no IPv6 addresses, and the other way round.
    pub fn contains(&self, address: &IpAddr) -> bool {
        let shared = |all: u32, first: u128, second: u128| {
            (first ^ second).checked_shr(all - u32::from(self.bits)).unwrap_or(0) == 0
        };
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                shared(32, network.to_bits().into(), address.to_bits().into())
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => shared(128, network.to_bits(), address.to_bits()),
            _ => false,
        }
    }
}

/// A port, or a range of ports.
pub fn port_range(text: &str) -> Option<NumberRange> {
    range(text).filter(|range| range.is_within(NumberRange { min: 0, max: u16::MAX.into() }))
}

/// An IP protocol by its name, with or without `IPPROTO_`, its number, or a range of numbers.
pub fn protocol(text: &str) -> Option<NumberRange> {
    named(text, "IPPROTO_", PROTOCOLS)
}

/// An address family by its name, with or without `AF_`, its number, or a range of numbers.
pub fn family(text: &str) -> Option<NumberRange> {
    named(text, "AF_", FAMILIES)
}

/// A TCP state by its name, with or without `TCP_`, its number, or a range of numbers.
pub fn tcp_state(text: &str) -> Option<NumberRange> {
    named(text, "TCP_", TCP_STATES)
}

fn named(text: &str, prefix: &str, names: &[(u16, &str)]) -> Option<NumberRange> {
    let text = text.trim();
    let has_prefix = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let name = if has_prefix { &text[prefix.len()..] } else { text };
    let named = names.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
    let number = || range(text).filter(|range| range.is_within(NumberRange { min: 0, max: u16::MAX.into() }));
    named.map(|(number, _)| NumberRange::one((*number).into())).or_else(number)
}

const PROTOCOLS: &[(u16, &str)] = &[
    (0, "IP"),
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPIP"),
    (6, "TCP"),
    (8, "EGP"),
    (12, "PUP"),
    (17, "UDP"),
    (22, "IDP"),
    (29, "TP"),
    (33, "DCCP"),
    (41, "IPV6"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPV6"),
    (92, "MTP"),
    (94, "BEETPH"),
    (98, "ENCAP"),
    (103, "PIM"),
    (108, "COMP"),
    (132, "SCTP"),
    (136, "UDPLITE"),
    (137, "MPLS"),
    (143, "ETHERNET"),
    (255, "RAW"),
    (262, "MPTCP"),
];

const FAMILIES: &[(u16, &str)] = &[
    (0, "UNSPEC"),
    (1, "UNIX"),
    (1, "LOCAL"),
    (2, "INET"),
    (3, "AX25"),
    (4, "IPX"),
    (5, "APPLETALK"),
    (6, "NETROM"),
    (7, "BRIDGE"),
    (8, "ATMPVC"),
    (9, "X25"),
    (10, "INET6"),
    (11, "ROSE"),
    (12, "DECnet"),
    (13, "NETBEUI"),
    (14, "SECURITY"),
    (15, "KEY"),
    (16, "NETLINK"),
    (17, "PACKET"),
    (18, "ASH"),
    (19, "ECONET"),
    (20, "ATMSVC"),
    (21, "RDS"),
    (22, "SNA"),
    (23, "IRDA"),
    (24, "PPPOX"),
    (25, "WANPIPE"),
    (26, "LLC"),
    (27, "IB"),
    (28, "MPLS"),
    (29, "CAN"),
    (30, "TIPC"),
    (31, "BLUETOOTH"),
    (32, "IUCV"),
    (33, "RXRPC"),
    (34, "ISDN"),
    (35, "PHONET"),
    (36, "IEEE802154"),
    (37, "CAIF"),
    (38, "ALG"),
    (39, "NFC"),
    (40, "VSOCK"),
    (41, "KCM"),
    (42, "QIPCRTR"),
    (43, "SMC"),
    (44, "XDP"),
    (45, "MCTP"),
];

const TCP_STATES: &[(u16, &str)] = &[
    (1, "ESTABLISHED"),
    (2, "SYN_SENT"),
    (3, "SYN_RECV"),
    (4, "FIN_WAIT1"),
    (5, "FIN_WAIT2"),
    (6, "TIME_WAIT"),
    (7, "CLOSE"),
    (8, "CLOSE_WAIT"),
    (9, "LAST_ACK"),
    (10, "LISTEN"),
    (11, "CLOSING"),
    (12, "NEW_SYN_RECV"),
];
