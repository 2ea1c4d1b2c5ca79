//! Compares with the real `hubble`: its own filters on our JSON must pass the same flows as ours.
//! It is found in `target/cache/bin`; where it is not, the tests say so and do nothing.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use prost::Message;
use trilobite_api::flow::{EventTypeFilter, FlowFilter, NetworkInterface, TcpFlags as Flags, Workload};
use trilobite_node_ebpf::FlowReason;

use super::{FlowFilters, append_json_line, flow_message, response};
use crate::layers::network::{
    decode::Transport,
    endpoint::Reserved,
    endpoint::{Endpoint, Service},
    flow::{Flow, Interface, ObservationPoint, TrafficDirection, tests::syn},
    tcp_flags::TcpFlags,
};

/// None where it was not built, unless it is required.
fn hubble() -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin/hubble");
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", found.display());
    eprintln!("not compared: {} is not there; `make cache` builds it", found.display());
    None
}

/// Flows that differ in everything that a filter can match.
fn many_flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    let world = Arc::new(Endpoint::reserved(Reserved::World));
    let host = Arc::new(Endpoint::reserved(Reserved::Host));
    let service = syn().destination_service;
    for number in 0..64u16 {
        let bit = |at: u16| number >> at & 1 == 1;
        let mut flow = syn();
        flow.uuid = u128::from(number) << 64 | 0x4 << 76 | 0x2 << 62;
        flow.time = flow.time.checked_add(jiff::SignedDuration::from_millis(number.into())).unwrap();
        flow.source.set_port(40000 + number);
        flow.flags = TcpFlags(number & 0x1f);
        flow.flags_seen = flow.flags;
        flow.interface = Arc::new(Interface { index: u32::from(number % 5) + 1, name: format!("veth{}", number % 3) });
        flow.is_new = number % 7 == 0;
        if bit(0) {
            std::mem::swap(&mut flow.source, &mut flow.destination);
            std::mem::swap(&mut flow.source_endpoint, &mut flow.destination_endpoint);
            flow.is_reply = true;
            flow.source_service = flow.destination_service.take();
            flow.observation_point = ObservationPoint::ToEndpoint;
        }
        if bit(1) {
            flow.transport = Transport::Udp;
            flow.source.set_ip("fd00:1::7".parse().unwrap());
            flow.destination.set_ip("fd00:2::9".parse().unwrap());
        }
        if bit(2) {
            flow.direction = TrafficDirection::Ingress;
            flow.source_endpoint = world.clone();
        }
        if bit(3) {
            flow.destination_endpoint = host.clone();
            flow.destination_service = service.clone();
        }
        if bit(4) {
            flow.observation_point = if bit(0) { ObservationPoint::FromNetwork } else { ObservationPoint::ToNetwork };
        }
        flow.is_direction_a_guess = bit(3) && bit(1);
        if bit(5) {
            flow.source_service =
                Some(Arc::new(Service { name: "other".into(), namespace: "default".into(), endpoint: Arc::default() }));
            flow.reason = FlowReason::End;
            flow.source_mac = [0; 6];
            flow.destination_mac = [0; 6];
        }
        flows.push(flow);
    }
    flows
}

fn json(flows: &[Flow]) -> Vec<u8> {
    let mut lines = Vec::new();
    for flow in flows {
        append_json_line(flow, "n1", &mut lines);
    }
    lines
}

/// The output of `hubble observe` for `lines`.
fn observe(hubble: &PathBuf, lines: &[u8], arguments: &[String]) -> String {
    let mut child = Command::new(hubble)
        .args(["observe", "--input-file", "-", "--last", "1000"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "hubble observe {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every supported filter, with values that match some flows and with values that match none; some of the latter are
/// refused in a whitelist.
fn many_filters() -> Vec<FlowFilter> {
    let none = FlowFilter::default;
    let mut filters = vec![none()];
    for text in ["shop/", "shop/front", "/cart", "front-1", "store/front", "default/"] {
        filters.push(FlowFilter { source_pod: vec![text.into()], ..none() });
        filters.push(FlowFilter { destination_pod: vec![text.into(), "nobody/".into()], ..none() });
        filters.push(FlowFilter { source_service: vec![text.into(), "default/oth".into()], ..none() });
        filters.push(FlowFilter { destination_service: vec![text.into(), "store/".into()], ..none() });
    }
    // Hubble compares the text of an address, so that it knows the shortest spelling alone.
    for text in ["10.1.0.7", "10.2.0.0/16", "fd00:1::7", "fd00::/8", "0.0.0.0/0", "::/0"] {
        filters.push(FlowFilter { source_ip: vec![text.into()], ..none() });
        filters.push(FlowFilter { destination_ip: vec![text.into(), "192.0.2.1".into()], ..none() });
    }
    for text in ["80", "40001", "443"] {
        filters.push(FlowFilter { source_port: vec![text.into()], ..none() });
        filters.push(FlowFilter { destination_port: vec![text.into(), "40004".into()], ..none() });
    }
    for text in [
        "app=front",
        "k8s:app=cart",
        "reserved:world",
        "!app",
        "app in (front, cart),k8s:io.kubernetes.pod.namespace=shop",
        "app notin (front)",
        "app!=cart",
        "any:app",
        "io.kubernetes.pod.namespace",
        "reserved:app",
    ] {
        filters.push(FlowFilter { source_label: vec![text.into()], ..none() });
        filters.push(FlowFilter { destination_label: vec![text.into(), "reserved:host".into()], ..none() });
    }
    for (name, kind) in [("front", "Deployment"), ("", "Deployment"), ("cart", ""), ("front", "Job")] {
        let wanted = vec![Workload { name: name.into(), kind: kind.into() }];
        filters.push(FlowFilter { source_workload: wanted.clone(), ..none() });
        filters.push(FlowFilter { destination_workload: wanted, ..none() });
    }
    for identity in [1, 2, 1001, 1002, 9] {
        filters.push(FlowFilter { source_identity: vec![identity], ..none() });
        filters.push(FlowFilter { destination_identity: vec![identity, 7], ..none() });
    }
    for text in ["tcp", "UDP", "icmp", "http"] {
        filters.push(FlowFilter { protocol: vec![text.into()], ..none() });
    }
    for bits in 1..32u16 {
        filters.push(FlowFilter { tcp_flags: vec![flags(bits)], ..none() });
    }
    filters.push(FlowFilter { tcp_flags: vec![flags(3), flags(0x14)], ..none() });
    for number in 0..3 {
        filters.push(FlowFilter { ip_version: vec![number], ..none() });
        filters.push(FlowFilter { verdict: vec![number], ..none() });
        filters.push(FlowFilter { traffic_direction: vec![number], ..none() });
    }
    filters.push(FlowFilter { drop_reason_desc: vec![133], ..none() });
    filters.push(FlowFilter { drop_reason_desc: vec![0], ..none() });
    for answer in [true, false] {
        filters.push(FlowFilter { reply: vec![answer], ..none() });
        filters.push(FlowFilter { encrypted: vec![answer], ..none() });
    }
    for (kind, sub_type) in [(4, None), (4, Some(0)), (4, Some(3)), (0, Some(10)), (1, None), (129, None)] {
        let wanted = EventTypeFilter {
            r#type: kind,
            match_sub_type: sub_type.is_some(),
            sub_type: sub_type.unwrap_or_default(),
        };
        filters.push(FlowFilter { event_type: vec![wanted], ..none() });
    }
    for (index, name) in [(1, ""), (0, "veth1"), (2, "veth1"), (77, "")] {
        filters.push(FlowFilter { interface: vec![NetworkInterface { index, name: name.into() }], ..none() });
    }
    for text in ["n1", "default/n*", "east/n1", "n2", "default/"] {
        filters.push(FlowFilter { node_name: vec![text.into()], ..none() });
    }
    filters.push(FlowFilter { uuid: vec![flow_message::uuid(many_flows()[5].uuid)], ..none() });
    filters
}

fn flags(bits: u16) -> Flags {
    let has = |flag: TcpFlags| bits & flag.0 != 0;
    Flags {
        fin: has(TcpFlags::FIN),
        syn: has(TcpFlags::SYN),
        rst: has(TcpFlags::RST),
        psh: has(TcpFlags::PSH),
        ack: has(TcpFlags::ACK),
        ..Flags::default()
    }
}

#[test]
fn our_filters_pass_the_same_flows_as_the_clients() {
    let Some(hubble) = hubble() else { return };
    let flows = many_flows();
    let lines = json(&flows);
    let filters = many_filters();
    let text = |filter: &FlowFilter| {
        let mut out = Vec::new();
        trilobite_api::json::append(filter, &mut out);
        String::from_utf8(out).unwrap()
    };
    let (mut passed, mut refused) = (0, 0);
    for (at, filter) in filters.iter().enumerate() {
        // Alone, with another filter, and against another, which covers both kinds of list.
        let other = &filters[(at * 7 + 3) % filters.len()];
        let combinations: [(Vec<&FlowFilter>, Vec<&FlowFilter>); 3] =
            [(vec![filter], vec![]), (vec![filter, other], vec![]), (vec![other], vec![filter])];
        for (white, black) in combinations.into_iter().take(if at % 6 == 0 { 3 } else { 1 }) {
            let mut arguments = vec!["-o".to_owned(), "json".to_owned()];
            for (flag, list) in [("--allowlist", &white), ("--denylist", &black)] {
                for one in list {
                    arguments.extend([flag.to_owned(), text(one)]);
                }
            }
            let owned = |list: Vec<&FlowFilter>| list.into_iter().cloned().collect::<Vec<_>>();
            let printed = uuids(&observe(&hubble, &lines, &arguments));
            let ours = match FlowFilters::new(&owned(white.clone()), &owned(black), "n1") {
                Ok(ours) => ours,
                Err(refusal) => {
                    // A refused filter matches nothing: alone it passes no flow.
                    assert!(white.len() > 1 || printed.is_empty(), "{refusal}");
                    refused += 1;
                    continue;
                }
            };
            let expected = json(&flows.iter().filter(|flow| ours.pass(flow)).cloned().collect::<Vec<_>>());
            assert_eq!(printed, uuids(&String::from_utf8(expected).unwrap()), "{arguments:?}");
            passed += printed.len();
        }
    }
    assert!(passed > 1000, "the filters passed only {passed} flows in all");
    assert!((8..40).contains(&refused), "{refused} were refused");
}

fn uuids(lines: &str) -> Vec<String> {
    let one = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["flow"]["uuid"].as_str().unwrap().to_owned()
    };
    lines.lines().map(one).collect()
}

#[test]
fn client_reads_our_json_and_writes_the_same() {
    let Some(hubble) = hubble() else { return };
    let flows = many_flows();
    let lines = json(&flows);
    let printed = observe(&hubble, &lines, &["-o".to_owned(), "json".to_owned()]);
    let parse = |text: &str| {
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let ours = parse(&String::from_utf8(lines).unwrap());
    assert_eq!(ours.len(), 64);
    assert_eq!(parse(&printed), ours);
}

#[test]
fn client_prints_source_and_destination_of_our_flows() {
    let Some(hubble) = hubble() else { return };
    let mut answer = syn();
    std::mem::swap(&mut answer.source, &mut answer.destination);
    std::mem::swap(&mut answer.source_endpoint, &mut answer.destination_endpoint);
    answer.source_service = answer.destination_service.take();
    (answer.is_reply, answer.observation_point, answer.flags) = (true, ObservationPoint::ToEndpoint, TcpFlags(0x12));
    let arguments = ["--time-format", "RFC3339", "--color", "never"].map(str::to_owned);
    let printed = observe(&hubble, &json(&[syn(), answer]), &arguments);
    assert_eq!(
        printed,
        "2026-11-22T12:46:23Z: shop/front-1:40000 (ID:1001) -> store/cart-1:80 (ID:1002) to-stack FORWARDED (TCP Flags: SYN)\n\
         2026-11-22T12:46:23Z: shop/front-1:40000 (ID:1001) <- store/cart-1:80 (ID:1002) to-endpoint FORWARDED (TCP Flags: SYN, ACK)\n"
    );
    assert!(response(&syn(), "n1").encoded_len() < 1024);
}
