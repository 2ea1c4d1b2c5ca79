//! What `bpf/network/flow.bpf.c` and the agent exchange; `bpf/network/flow.h` has the same.

use crate::record::Record;

/// Which way a packet went through the interface. Numbers are those of `enum flow_direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FlowDirection {
    /// The interface received it: on the host end of a veth, the pod sent it.
    In = 0,
    /// The interface sent it: on the host end of a veth, the pod gets it.
    Out = 1,
}

/// Why there is a record. Numbers are those of `enum flow_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowReason {
    /// The first packet of the flow.
    New = 1,
    /// A TCP flag that the flow did not show before.
    Flag = 2,
    /// It has carried more since it was told.
    Active = 3,
    /// No more packets, or the agent asked; the counters are final.
    End = 4,
}

/// Why a packet is no part of a flow, in the order of `enum other_reason`. The text is a metric's label.
pub const OTHER_REASONS: [&str; 7] = ["protocol", "not_ip", "fragment", "malformed", "map_full", "ending", "share"];
/// The place of `map_full` in `OTHER_REASONS`.
pub const OTHER_MAP_FULL: usize = 4;
/// The place of `share` in `OTHER_REASONS`: the flow map has room, which is left to other interfaces.
pub const OTHER_SHARE: usize = 6;

/// A bit in the answer of `end_flows`: the ring kept it from telling more.
pub const FLOW_END_MORE: i32 = 1 << 30;

/// `struct flow_key`. Ports and addresses are in network order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowKey {
    /// As on the wire; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// As on the wire; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Index of the interface.
    pub interface: u32,
    /// Network order.
    pub source_port: u16,
    /// Network order.
    pub destination_port: u16,
    /// 6 or 17.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// A `FlowDirection`.
    pub direction: u8,
    /// Zero.
    pub pad: u8,
}

/// `struct flow_value`: what the kernel counts of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowValue {
    /// The kernel's own.
    pub lock: u32,
    /// TCP flags so far.
    pub flags_seen: u16,
    /// Not zero: its `End` record is out.
    pub ended: u16,
    /// So far.
    pub packets: u64,
    /// So far, with link headers.
    pub bytes: u64,
    /// First packet, boot clock, nanoseconds.
    pub first: u64,
    /// Last packet, boot clock, nanoseconds.
    pub last: u64,
    /// Last record, boot clock, nanoseconds.
    pub reported: u64,
    /// A hash of the key that this is the value of.
    pub tag: u64,
}

/// `struct flow_record`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowRecord {
    /// As every record.
    pub header: Record,
    /// Which flow.
    pub key: FlowKey,
    /// TCP flags of the packet that made the record; none where `end_flows` made it.
    pub flags: u16,
    /// TCP flags so far.
    pub flags_seen: u16,
    /// So far.
    pub packets: u64,
    /// So far, with link headers.
    pub bytes: u64,
    /// First packet, boot clock, nanoseconds.
    pub first: u64,
    /// Last packet, boot clock, nanoseconds.
    pub last: u64,
    /// Of the packet; zero where `end_flows` made the record.
    pub source_mac: [u8; 6],
    /// Of the packet; zero where `end_flows` made the record.
    pub destination_mac: [u8; 6],
    /// A `FlowReason`.
    pub reason: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// `struct packets_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PacketsBytes {
    /// Packets, as the interface counts them.
    pub packets: u64,
    /// Bytes, as the interface counts them.
    pub bytes: u64,
}

/// `struct interface_counts`: what went through an interface in one direction and is in no flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceCounts {
    /// By reason, in the order of `OTHER_REASONS`.
    pub other: [PacketsBytes; OTHER_REASONS.len()],
    /// Records that did not fit the ring.
    pub records_lost: u64,
    /// Flows that it holds in the flow map now.
    pub flows: u64,
}

/// `struct flow_end_order`: stands behind an Ethernet header in the packet that the agent runs `end_flows` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEndOrder {
    /// Only this interface; 0 for all.
    pub interface: u32,
    /// 0: end those that are idle; 1: remove those that have ended.
    pub remove: u32,
    /// Nanoseconds without a packet after FIN or RST; the shortest of the five.
    pub idle_closed: u64,
    /// Nanoseconds after a SYN that nothing followed.
    pub idle_syn: u64,
    /// Nanoseconds without a packet, TCP.
    pub idle_tcp: u64,
    /// Nanoseconds without a packet, UDP.
    pub idle_udp: u64,
    /// Nanoseconds without a packet, UDP of a question or two and as many answers.
    pub idle_answered: u64,
}

const _: () = assert!(size_of::<FlowKey>() == 44);
const _: () = assert!(size_of::<FlowValue>() == 56);
const _: () = assert!(size_of::<FlowRecord>() == 152);
const _: () = assert!(size_of::<InterfaceCounts>() == 128);
const _: () = assert!(size_of::<FlowEndOrder>() == 48);
