//! What is above IP in a packet.

use std::fmt::{self, Write};

use super::icmp_message::icmp_message;
use crate::layers::network::{tcp_flags::TcpFlags, transport::Transport};

/// A protocol above IP, with what its header has beside ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    Tcp,
    Udp,
    /// Type and code as in the message.
    Icmp {
        v6: bool,
        kind: u8,
        code: u8,
    },
    /// The number of another protocol.
    Other(u8),
}

impl L4 {
    /// None for a protocol without ports.
    pub fn transport(self) -> Option<Transport> {
        match self {
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Icmp { .. } | Self::Other(_) => None,
        }
    }

    /// Its number in IP's header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp { v6: false, .. } => 1,
            Self::Icmp { v6: true, .. } => 58,
            Self::Other(number) => number,
        }
    }

    /// As Hubble's summaries and metrics have it; none where Hubble knows no name.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Tcp => Some("TCP"),
            Self::Udp => Some("UDP"),
            Self::Icmp { v6: false, .. } => Some("ICMPv4"),
            Self::Icmp { v6: true, .. } => Some("ICMPv6"),
            Self::Other(_) => None,
        }
    }

    /// The name, with the message of ICMP: `ICMPv4 EchoRequest`.
    pub(super) fn write_protocol(self, out: &mut impl Write) -> fmt::Result {
        match self {
            Self::Icmp { v6, kind, code } => {
                write!(out, "{} {}", self.name().unwrap_or_default(), icmp_message(v6, kind, code))
            }
            Self::Other(number) => write!(out, "IP protocol {number}"),
            Self::Tcp | Self::Udp => out.write_str(self.name().unwrap_or_default()),
        }
    }

    /// One packet in Hubble's words: `TCP Flags: SYN, ACK`, `UDP`, `ICMPv4 EchoRequest`.
    pub(super) fn write_packet(self, flags: TcpFlags, out: &mut impl Write) -> fmt::Result {
        match self {
            Self::Tcp => write!(out, "TCP Flags: {flags}"),
            other => other.write_protocol(out),
        }
    }
}

impl From<Transport> for L4 {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}
