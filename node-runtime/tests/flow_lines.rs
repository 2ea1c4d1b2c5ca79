//! A flow's line of JSON is what protojson prints of Hubble's message, whatever the flow holds.

#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use proptest::prelude::*;
use trilobite_node::{
    export::captures::line::FlowLines,
    layers::network::{
        decode::Transport,
        endpoint::{Endpoint, Service},
        flow::{Flow, Interface, ObservationPoint, TrafficDirection},
        tcp_flags::TcpFlags,
    },
    serve::hubble,
};
use trilobite_node_ebpf::{FlowReason, PacketsBytes};

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let workload = prop::option::of(("\\PC{0,9}", "\\PC{0,9}"));
    let labels = prop::collection::vec(any::<String>(), 0..3);
    (any::<u32>(), any::<String>(), "[a-z-]{0,9}", labels, workload).prop_map(
        |(identity, namespace, pod, labels, workload)| Endpoint { identity, namespace, pod, labels, workload },
    )
}

fn service() -> impl Strategy<Value = Option<Service>> {
    let service = ("[a-z]{0,5}", "[a-z]{0,5}");
    prop::option::of(service.prop_map(|(name, namespace)| Service { name, namespace, endpoint: Arc::default() }))
}

fn counts() -> impl Strategy<Value = PacketsBytes> {
    let count = || prop_oneof![0..3u64, any::<u64>()];
    (count(), count()).prop_map(|(packets, bytes)| PacketsBytes { packets, bytes })
}

/// Protobuf has no time before the year 1.
const YEAR_1: i64 = -62_135_596_800;

fn time() -> impl Strategy<Value = Timestamp> {
    let nanos = prop_oneof![Just(0), (0..1000).prop_map(|millis| millis * 1_000_000), 0..1_000_000_000];
    (YEAR_1 + 1..200_000_000_000, nanos)
        .prop_map(|(second, nanos)| Timestamp::new(second, if second < 0 { -nanos } else { nanos }).unwrap())
}

type Ends = ((Endpoint, Endpoint), (Option<Service>, Option<Service>), (SocketAddr, SocketAddr));

fn flow() -> impl Strategy<Value = Flow> {
    let ends = ((endpoint(), endpoint()), (service(), service()), any::<(SocketAddr, SocketAddr)>());
    let macs = prop_oneof![Just(([0; 6], [0; 6])), any::<([u8; 6], [u8; 6])>()];
    let packet = (any::<bool>(), 0..256u16, macs, 0..4usize, 0..4usize);
    let rest = (any::<(bool, bool, bool)>(), any::<(u128, u64, u32)>(), "[a-z0-9]{0,9}", counts(), counts(), time());
    (ends, packet, rest).prop_map(|(ends, packet, rest): (Ends, _, _)| {
        let ((source_endpoint, destination_endpoint), (source_service, destination_service), addresses) = ends;
        let (is_tcp, flags, (source_mac, destination_mac), reason, point) = packet;
        let ((is_reply, is_new, is_ingress), (uuid, connection, index), name, since, total, time) = rest;
        let points = [
            ObservationPoint::ToStack,
            ObservationPoint::ToEndpoint,
            ObservationPoint::FromNetwork,
            ObservationPoint::ToNetwork,
        ];
        Flow {
            time,
            uuid,
            transport: if is_tcp { Transport::Tcp } else { Transport::Udp },
            source: addresses.0,
            destination: addresses.1,
            source_mac,
            destination_mac,
            flags: TcpFlags(flags),
            flags_seen: TcpFlags(flags),
            reason: [FlowReason::New, FlowReason::Flag, FlowReason::Active, FlowReason::End][reason],
            source_endpoint: Arc::new(source_endpoint),
            destination_endpoint: Arc::new(destination_endpoint),
            source_service: source_service.map(Arc::new),
            destination_service: destination_service.map(Arc::new),
            is_reply,
            is_new,
            direction: if is_ingress { TrafficDirection::Ingress } else { TrafficDirection::Egress },
            observation_point: points[point],
            interface: Arc::new(Interface { index, name }),
            connection,
            since,
            total,
        }
    })
}

fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn line_of_a_flow_is_hubbles_message_as_protojson(flows in prop::collection::vec(flow(), 1..4), node in "[a-z]{0,5}") {
        let mut lines = FlowLines::new(&node);
        for flow in flows {
            let (mut line, mut message) = (Vec::new(), Vec::new());
            lines.append_flow(&flow, &mut line);
            hubble::append_json_line(&flow, &node, &mut message);
            prop_assert_eq!(text(line), text(message));
        }
    }

    #[test]
    fn line_of_a_loss_is_hubbles_message_as_protojson(count in 1..u64::MAX, first in time(), last in time()) {
        let (mut line, mut message) = (Vec::new(), Vec::new());
        FlowLines::new("n1").append_lost(count, first, last, &mut line);
        hubble::append_lost_line(count, first, last, "n1", &mut message);
        prop_assert_eq!(text(line), text(message));
    }
}
