//! Compares with the real `hubble`: with the same flags both select the same flows. It is found in `target/cache/bin`; where it
//! is not, the test says so and does nothing.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
};

use clap::Parser;
use trilobite_api::{
    flow::{
        CiliumEventType, DropReason, Endpoint, Flow, Http, HttpHeader, IcmPv4, Ip, IpVersion, L7FlowType, Layer4,
        Layer7, NetworkInterface, Service, Tcp, TcpFlags, TrafficDirection, Udp, Verdict, Workload, layer4::Protocol,
        layer7::Record,
    },
    json,
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use super::matching::FlowMatcher;
use crate::args::{Arguments, Command};

fn hubble() -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin/hubble");
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", found.display());
    // Without the client there is nothing to compare with: `make cache` builds it.
    None
}

/// Flows that differ in everything that a flag selects by.
fn flows() -> Vec<GetFlowsResponse> {
    let pod = |namespace: &str, pod: &str, app: &str, identity| Endpoint {
        identity,
        namespace: namespace.into(),
        pod_name: pod.into(),
        labels: vec![format!("k8s:app={app}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")],
        workloads: vec![Workload { name: app.into(), kind: "Deployment".into() }],
        ..Endpoint::default()
    };
    let world = Endpoint { identity: 2, labels: vec!["reserved:world".into()], ..Endpoint::default() };
    let ends = [
        pod("shop", "till-1", "till", 1001),
        pod("shop", "shelf-1", "shelf", 1002),
        pod("reef", "till-2", "till", 1003),
        world,
    ];
    let packets = (0..96u32).map(|number| {
        let pick = |all: usize, by: u32| (number / by) as usize % all;
        let flags =
            TcpFlags { syn: number % 2 == 0, ack: number % 3 == 0, fin: number % 5 == 0, ..TcpFlags::default() };
        let (source_port, destination_port) = (40_000 + number % 7, [80, 443, 53][pick(3, 2)]);
        let protocol = match pick(4, 1) {
            0 | 1 => Protocol::Tcp(Tcp { source_port, destination_port, flags: Some(flags) }),
            2 => Protocol::Udp(Udp { source_port, destination_port }),
            _ => Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 }),
        };
        let (verdict, event, is_reply) = match pick(5, 3) {
            0 | 1 => (Verdict::Forwarded, (4, [0, 3, 11][pick(3, 5)]), Some(number % 4 == 1)),
            2 | 3 => (Verdict::Dropped, (1, [133, 169][pick(2, 7)]), None),
            _ => (Verdict::Audit, (5, 0), Some(false)),
        };
        let reason = match event {
            (1, 133) => DropReason::PolicyDenied,
            (1, _) => DropReason::FibLookupFailed,
            _ => DropReason::Unknown,
        };
        let is_v6 = number % 8 == 7;
        Flow {
            uuid: format!("u{number}"),
            time: Some(prost_types::Timestamp { seconds: i64::from(number), nanos: 0 }),
            verdict: verdict.into(),
            drop_reason_desc: reason.into(),
            ip: Some(Ip {
                source: if is_v6 { "fd00:1::7".into() } else { format!("10.1.{}.7", number % 3) },
                destination: if is_v6 { "fd00:2::9".into() } else { "192.0.2.9".into() },
                ip_version: if is_v6 { IpVersion::IPv6 } else { IpVersion::IPv4 }.into(),
                ..Ip::default()
            }),
            l4: Some(Layer4 { protocol: Some(protocol) }),
            source: Some(ends[pick(4, 1)].clone()),
            destination: Some(ends[pick(4, 4)].clone()),
            destination_service: (number % 6 == 0).then(|| Service { name: "shelf".into(), namespace: "shop".into() }),
            event_type: Some(CiliumEventType { r#type: event.0, sub_type: event.1 }),
            traffic_direction: [TrafficDirection::Ingress, TrafficDirection::Egress][pick(2, 3)].into(),
            is_reply,
            interface: (number % 3 > 0).then(|| NetworkInterface { index: 1, name: format!("veth{}", number % 2) }),
            ..Flow::default()
        }
    });
    let requests = (96..128u32).map(|number| request(number, &ends));
    let response = |flow: Flow| GetFlowsResponse {
        time: flow.time,
        response_types: Some(ResponseTypes::Flow(flow)),
        ..Default::default()
    };
    packets.chain(requests).map(response).collect()
}

/// An HTTP request, or every other time its response.
fn request(number: u32, ends: &[Endpoint]) -> Flow {
    let pick = |all: usize, by: u32| (number / by) as usize % all;
    let is_response = number % 2 == 1;
    let header = |key: &str, value: &str| HttpHeader { key: key.into(), value: value.into() };
    let http = Http {
        code: if is_response { [200, 204, 404, 503][pick(4, 2)] } else { 0 },
        method: ["GET", "POST"][pick(2, 4)].into(),
        url: ["http://shelf/items?id=7", "/cart", "http://shelf/a%20b", "/bad%zz"][pick(4, 3)].into(),
        protocol: "HTTP/1.1".into(),
        headers: if !number.is_multiple_of(3) {
            vec![header("Host", ["shelf", "till"][pick(2, 5)])]
        } else {
            Vec::new()
        },
    };
    let kind = if is_response { L7FlowType::Response } else { L7FlowType::Request };
    let tcp = Tcp { source_port: 40_000 + number % 7, destination_port: 80, flags: None };
    Flow {
        uuid: format!("u{number}"),
        time: Some(prost_types::Timestamp { seconds: i64::from(number), nanos: 0 }),
        verdict: Verdict::Forwarded.into(),
        l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
        source: Some(ends[0].clone()),
        destination: Some(ends[1].clone()),
        event_type: Some(CiliumEventType { r#type: 129, sub_type: 0 }),
        is_reply: Some(is_response),
        l7: Some(Layer7 { r#type: kind.into(), latency_ns: 0, record: Some(Record::Http(http)) }),
        ..Flow::default()
    }
}

fn uuid(response: &GetFlowsResponse) -> String {
    match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => flow.uuid.clone(),
        other => panic!("no flow: {other:?}"),
    }
}

/// The uuids of the flows that `hubble observe` prints with these flags.
fn observed(hubble: &Path, lines: &str, flags: &str) -> Vec<String> {
    let mut child = Process::new(hubble)
        .args(["observe", "--input-file", "-", "--last", "1000", "-o", "json"])
        .args(flags.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{flags}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| uuid(&json::read(&serde_json::from_str(line).unwrap()).unwrap())).collect()
}

#[test]
fn same_flags_select_the_same_flows_as_with_hubble() {
    let Some(hubble) = hubble() else { return };
    let flows = flows();
    let lines: String = flows.iter().map(|flow| json::to_string(flow) + "\n").collect();
    let mut selected = 0;
    for flags in [
        "-n shop",
        "-n shop -n reef",
        "--from-namespace shop --to-namespace reef",
        "--pod shop/till",
        "--from-pod shop/till --to-pod shop/",
        "--from-pod reef/till --from-pod shop/shelf",
        "--service shop/shelf",
        "--to-service shop/sh",
        "--workload till",
        "--from-workload Deployment/shelf",
        "--to-workload Deployment/",
        "-l app=till",
        "--from-label reserved:world",
        "--to-label k8s:app,io.kubernetes.pod.namespace=shop",
        "--identity world",
        "--from-identity 1001 --from-identity 1003",
        "--to-identity 1002",
        "--ip 10.1.0.0/24",
        "--from-ip 10.1.1.7 --from-ip fd00:1::7",
        "--to-ip fd00::/16",
        "--port 80",
        "--from-port 40001 --from-port 40002",
        "--to-port 443 --protocol tcp",
        "--protocol udp --protocol icmp",
        "--protocol icmpv4",
        "--tcp-flags syn,ack",
        "--tcp-flags fin --tcp-flags syn",
        "--type drop",
        "-t trace:to-endpoint -t trace:to-network",
        "-t drop:169 -t policy-verdict",
        "--verdict DROPPED --verdict AUDIT",
        "--drop-reason-desc POLICY_DENIED",
        "--traffic-direction ingress",
        "--reply",
        "--not-reply",
        "-4",
        "--ipv6",
        "--interface veth1",
        "--uuid u7 --uuid u8",
        "--pod shop/till --verdict DROPPED --not-reply",
        "--protocol http",
        "-t l7 --reply",
        "--http-status 5+",
        "--http-status 20+ --http-status 404",
        "--http-method get --protocol http",
        "--http-path ^/items$",
        "--http-path a.b --http-path cart",
        "--http-url id=[0-9]",
        "--http-header Host:shelf",
    ] {
        let line = format!("trilobite observe {flags}");
        let Command::Observe(arguments) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        let matcher = FlowMatcher::new(&arguments);
        let ours: Vec<String> = flows.iter().filter(|flow| matcher.matches(flow)).map(uuid).collect();
        assert_eq!(ours, observed(&hubble, &lines, flags), "{flags}");
        assert!(!ours.is_empty() && ours.len() < flows.len(), "{flags} selects {}", ours.len());
        selected += ours.len();
    }
    assert!(selected > 500, "{selected}");
}
