//! Flows as lines of JSON, byte by byte as protojson prints Hubble's `GetFlowsResponse`, without the message in between: a
//! line takes a tenth of the time. `tests/flow_lines.rs` compares the two.

use std::{fmt, io::Write, net::SocketAddr};

use jiff::Timestamp;
use trilobite_node_ebpf::FlowReason;

use crate::layers::network::{
    decode::Transport,
    endpoint::{Endpoint, Service},
    flow::{Flow, ObservationPoint, TrafficDirection},
    tcp_flags::TcpFlags,
};

/// Largest integer up to which JSON's numbers are exact.
const EXACT: u64 = 1 << 53;

const TCP_FLAGS: [(TcpFlags, &str); 8] = [
    (TcpFlags::FIN, "FIN"),
    (TcpFlags::SYN, "SYN"),
    (TcpFlags::RST, "RST"),
    (TcpFlags::PSH, "PSH"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags::URG, "URG"),
    (TcpFlags::ECE, "ECE"),
    (TcpFlags::CWR, "CWR"),
];

/// Makes the lines of one node.
pub struct FlowLines {
    /// As a JSON string.
    node: Vec<u8>,
    /// The last second that was printed, and its text.
    second: (i64, String),
}

impl FlowLines {
    pub fn new(node: &str) -> Self {
        let mut name = Vec::new();
        string(node, &mut name);
        Self { node: name, second: (i64::MIN, String::new()) }
    }

    /// Appends a flow and the end of the line.
    pub fn append_flow(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"flow\":{\"time\":");
        let start = out.len();
        self.timestamp(flow.time, out);
        let time = start..out.len();
        out.extend_from_slice(b",\"uuid\":\"");
        uuid(flow.uuid, out);
        out.extend_from_slice(
            concat!(r#"","emitter":{"name":"trilobite-node","version":""#, env!("CARGO_PKG_VERSION"), "\"}").as_bytes(),
        );
        out.extend_from_slice(br#","verdict":"FORWARDED""#);
        if flow.source_mac != [0; 6] || flow.destination_mac != [0; 6] {
            out.extend_from_slice(br#","ethernet":{"source":""#);
            mac(flow.source_mac, out);
            out.extend_from_slice(br#"","destination":""#);
            mac(flow.destination_mac, out);
            out.extend_from_slice(b"\"}");
        }
        append(format_args!(",\"IP\":{{\"source\":\"{}\",", flow.source.ip()), out);
        let version = if flow.source.is_ipv4() { "IPv4" } else { "IPv6" };
        append(format_args!("\"destination\":\"{}\",\"ipVersion\":\"{version}\"}}", flow.destination.ip()), out);
        out.extend_from_slice(b",\"l4\":{");
        transport(flow, out);
        out.extend_from_slice(b"},\"source\":");
        endpoint(&flow.source_endpoint, out);
        out.extend_from_slice(b",\"destination\":");
        endpoint(&flow.destination_endpoint, out);
        out.extend_from_slice(br#","Type":"L3_L4""#);
        self.node_name(out);
        if flow.is_reply {
            out.extend_from_slice(b",\"reply\":true");
        }
        let (sub_type, point) = match flow.observation_point {
            ObservationPoint::ToEndpoint => ("", "TO_ENDPOINT"),
            ObservationPoint::ToStack => (",\"sub_type\":3", "TO_STACK"),
            ObservationPoint::FromNetwork => (",\"sub_type\":10", "FROM_NETWORK"),
            ObservationPoint::ToNetwork => (",\"sub_type\":11", "TO_NETWORK"),
        };
        append(format_args!(",\"event_type\":{{\"type\":4{sub_type}}}"), out);
        service("source_service", flow.source_service.as_deref(), out);
        service("destination_service", flow.destination_service.as_deref(), out);
        let direction = match flow.direction {
            TrafficDirection::Ingress => "INGRESS",
            TrafficDirection::Egress => "EGRESS",
        };
        let reason = match (flow.is_reply, flow.is_new) {
            (true, _) => "REPLY",
            (false, true) => "NEW",
            (false, false) => "ESTABLISHED",
        };
        append(format_args!(",\"traffic_direction\":\"{direction}\",\"trace_observation_point\":\"{point}\""), out);
        append(format_args!(",\"trace_reason\":\"{reason}\",\"is_reply\":{},\"interface\":{{", flow.is_reply), out);
        let mut members = Members::default();
        members.number("index", flow.interface.index.into(), out);
        members.text("name", &flow.interface.name, out);
        out.extend_from_slice(b"},\"Summary\":\"");
        // The text of a summary needs no escapes, and a Vec takes all that is written to it.
        let _ = flow.write_summary(&mut Text(out));
        out.extend_from_slice(
            br#"","extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"bytes":"#,
        );
        float(flow.since.bytes, out);
        out.extend_from_slice(b",\"bytes_total\":");
        float(flow.total.bytes, out);
        append(format_args!(",\"connection\":\"{:016x}\",\"packets\":", flow.connection), out);
        float(flow.since.packets, out);
        out.extend_from_slice(b",\"packets_total\":");
        float(flow.total.packets, out);
        let reason = match flow.reason {
            FlowReason::New => "new",
            FlowReason::Flag => "flag",
            FlowReason::Active => "active",
            FlowReason::End => "end",
        };
        append(format_args!(",\"reason\":\"{reason}\"}}}}}}"), out);
        self.node_name(out);
        out.extend_from_slice(b",\"time\":");
        out.extend_from_within(time);
        out.extend_from_slice(b"}\n");
    }

    /// Appends a line that says how many flows the kernel had no room for between two moments.
    pub fn append_lost(&mut self, count: u64, first: Timestamp, last: Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"lost_events":{"source":"PERF_EVENT_RING_BUFFER""#);
        append(format_args!(",\"num_events_lost\":\"{count}\",\"first\":"), out);
        self.timestamp(first, out);
        out.extend_from_slice(b",\"last\":");
        self.timestamp(last, out);
        out.push(b'}');
        self.node_name(out);
        out.extend_from_slice(b",\"time\":");
        self.timestamp(last, out);
        out.extend_from_slice(b"}\n");
    }

    fn node_name(&self, out: &mut Vec<u8>) {
        if self.node != b"\"\"" {
            out.extend_from_slice(b",\"node_name\":");
            out.extend_from_slice(&self.node);
        }
    }

    /// With no digits of the second, three, six or nine.
    fn timestamp(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let (mut second, mut nanos) = (time.as_second(), time.subsec_nanosecond());
        // jiff counts nanoseconds before 1970 backwards, protobuf forwards.
        if nanos < 0 {
            (second, nanos) = (second - 1, nanos + 1_000_000_000);
        }
        if self.second.0 != second {
            let text = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
            self.second = (second, text.trim_end_matches('Z').to_owned());
        }
        out.push(b'"');
        out.extend_from_slice(self.second.1.as_bytes());
        match nanos {
            0 => {}
            _ if nanos % 1_000_000 == 0 => append(format_args!(".{:03}", nanos / 1_000_000), out),
            _ if nanos % 1_000 == 0 => append(format_args!(".{:06}", nanos / 1_000), out),
            _ => append(format_args!(".{nanos:09}"), out),
        }
        out.extend_from_slice(b"Z\"");
    }
}

fn transport(flow: &Flow, out: &mut Vec<u8>) {
    let ports = |out: &mut Vec<u8>| {
        let port = |address: SocketAddr| address.port().into();
        let mut members = Members::default();
        members.number("source_port", port(flow.source), out);
        members.number("destination_port", port(flow.destination), out);
        members
    };
    match flow.transport {
        Transport::Udp => {
            out.extend_from_slice(b"\"UDP\":{");
            ports(out);
        }
        Transport::Tcp => {
            out.extend_from_slice(b"\"TCP\":{");
            ports(out).key("flags", out);
            out.push(b'{');
            let mut members = Members::default();
            for (_, name) in TCP_FLAGS.iter().filter(|(flag, _)| flow.flags.has(*flag)) {
                members.key(name, out);
                out.extend_from_slice(b"true");
            }
            out.push(b'}');
        }
    }
    out.push(b'}');
}

fn endpoint(endpoint: &Endpoint, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut members = Members::default();
    members.number("identity", endpoint.identity.into(), out);
    members.text("namespace", &endpoint.namespace, out);
    if !endpoint.labels.is_empty() {
        members.key("labels", out);
        let mut separator = b'[';
        for label in &endpoint.labels {
            out.push(separator);
            separator = b',';
            string(label, out);
        }
        out.push(b']');
    }
    members.text("pod_name", &endpoint.pod, out);
    if let Some((name, kind)) = &endpoint.workload {
        members.key("workloads", out);
        out.extend_from_slice(b"[{");
        let mut members = Members::default();
        members.text("name", name, out);
        members.text("kind", kind, out);
        out.extend_from_slice(b"}]");
    }
    out.push(b'}');
}

fn service(key: &str, service: Option<&Service>, out: &mut Vec<u8>) {
    let Some(service) = service else { return };
    append(format_args!(",\"{key}\":{{"), out);
    let mut members = Members::default();
    members.text("name", &service.name, out);
    members.text("namespace", &service.namespace, out);
    out.push(b'}');
}

fn uuid(bits: u128, out: &mut Vec<u8>) {
    for (at, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(byte, out);
    }
}

fn mac(address: [u8; 6], out: &mut Vec<u8>) {
    for (at, byte) in address.into_iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        hex(byte, out);
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
}

/// A count as a JSON number.
fn float(number: u64, out: &mut Vec<u8>) {
    #[allow(clippy::cast_precision_loss, reason = "clients read it as a double in any case")]
    match number {
        0..=EXACT => append(format_args!("{number}"), out),
        _ => append(format_args!("{}", number as f64), out),
    }
}

fn append(text: fmt::Arguments<'_>, out: &mut Vec<u8>) {
    // A Vec takes all that is written to it.
    let _ = out.write_fmt(text);
}

fn string(text: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let _ = serde_json::to_writer(out, text);
    }
}

/// The members of an object; those with a default value are left out.
#[derive(Default)]
struct Members {
    has_some: bool,
}

impl Members {
    fn key(&mut self, key: &str, out: &mut Vec<u8>) {
        if self.has_some {
            out.push(b',');
        }
        self.has_some = true;
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
    }

    fn number(&mut self, key: &str, value: u64, out: &mut Vec<u8>) {
        if value != 0 {
            self.key(key, out);
            append(format_args!("{value}"), out);
        }
    }

    fn text(&mut self, key: &str, value: &str, out: &mut Vec<u8>) {
        if !value.is_empty() {
            self.key(key, out);
            string(value, out);
        }
    }
}

/// Text appended to bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
