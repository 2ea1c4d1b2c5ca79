//! A packet that an interface passed on, and the counts of its flow.

use std::fmt::{self, Write};

use jiff::Timestamp;
use trilobite_node_ebpf::{FlowReason, PacketsBytes};

use super::l4::L4;
use crate::layers::network::{icmp_error::IcmpError, tcp_flags::TcpFlags};

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

impl ObservationPoint {
    pub const ALL: [Self; 4] = [Self::ToStack, Self::ToEndpoint, Self::FromNetwork, Self::ToNetwork];

    /// `event_type.sub_type`, which clients print as `to-endpoint` and the like.
    pub fn sub_type(self) -> i32 {
        match self {
            Self::ToEndpoint => 0,
            Self::ToStack => 3,
            Self::FromNetwork => 10,
            Self::ToNetwork => 11,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Forwarded {
    /// TCP flags of the packet; none if the record has no packet.
    pub flags: TcpFlags,
    /// TCP flags of the flow so far.
    pub flags_seen: TcpFlags,
    /// The last ICMP error that answered a packet of this flow.
    pub icmp_error: Option<IcmpError>,
    /// Why the kernel wrote a record.
    pub reason: FlowReason,
    /// Time of the first packet.
    pub first: Timestamp,
    /// Time of the last packet.
    pub last: Timestamp,
    /// The first flow of its connection.
    pub is_new: bool,
    pub observation_point: ObservationPoint,
    /// Counted since the last record of this flow.
    pub since: PacketsBytes,
    /// Counted since the flow began.
    pub total: PacketsBytes,
}

impl Forwarded {
    /// Hubble's words if the record has a packet, the totals if it has none.
    pub(super) fn write_summary(&self, l4: L4, out: &mut impl Write) -> fmt::Result {
        let PacketsBytes { packets, bytes } = self.total;
        match (l4, self.reason) {
            (_, FlowReason::Error) => {
                let error = self.icmp_error.unwrap_or_default();
                let outcome = if error.is_refusal() { "refused" } else { "failed" };
                l4.write_protocol(out)?;
                write!(out, " {outcome}: {}", error.text())
            }
            (_, FlowReason::End) => {
                l4.write_protocol(out)?;
                write!(out, " ended: {packets} packets, {bytes} bytes")
            }
            (L4::Tcp, FlowReason::Active) if self.flags == TcpFlags::default() => {
                write!(out, "TCP so far: {packets} packets, {bytes} bytes")
            }
            _ => l4.write_packet(self.flags, out),
        }
    }
}
