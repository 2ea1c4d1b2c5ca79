//! Filters for comparisons with the real client.

use trilobite_api::flow::{
    EventTypeFilter, FlowFilter, HttpHeader, NetworkInterface, TcpFlags as Flags, Workload, flow_filter::Experimental,
};

use super::flows::many_flows;
use crate::{layers::network::tcp_flags::TcpFlags, random::Random};

/// Every supported filter, with values that match some flows and with values that match none; some of the latter are
/// refused in a whitelist.
pub(super) fn many_filters() -> Vec<FlowFilter> {
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
    for text in ["200", "5+"] {
        filters.push(FlowFilter { http_status_code: vec![text.into()], ..none() });
    }
    filters.push(FlowFilter { http_method: vec!["GET".into()], ..none() });
    filters.push(FlowFilter { uuid: vec![super::super::flow_message::uuid(many_flows()[5].uuid)], ..none() });
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

/// A filter of one to three fields.
pub(super) fn random_filter(random: &mut Random) -> FlowFilter {
    let mut filter = FlowFilter::default();
    for _ in 0..=random.below(3) {
        set_field(&mut filter, random);
    }
    filter
}

/// One or two values.
fn texts(random: &mut Random, all: &[&str]) -> Vec<String> {
    random.some(all, 2).into_iter().map(str::to_owned).collect()
}

/// Sets one of all fields of a filter to values that some flows have, or none.
fn set_field(filter: &mut FlowFilter, random: &mut Random) {
    const PODS: &[&str] = &["shop/", "shop/front", "/cart", "front-1", "store/", "default/", "shop/front-2", "/"];
    const LABELS: &[&str] = &[
        "app=front",
        "k8s:app=cart",
        "reserved:world",
        "!app",
        "app in (front, cart)",
        "app notin (front),io.kubernetes.pod.namespace",
        "app!=cart",
        "reserved:app",
    ];
    const IPS: &[&str] = &["10.1.0.7", "10.2.0.0/16", "fd00:1::7", "fd00::/8", "0.0.0.0/0", "192.0.2.1"];
    const PORTS: &[&str] = &["80", "443", "40001", "9"];
    const IDENTITIES: &[u32] = &[0, 1, 2, 6, 7, 1001, 1002, 9];
    const CLUSTERS: &[&str] = &["default", "east"];
    const FQDNS: &[&str] = &[
        "*.example.com",
        "example.com",
        "Shop.Example.com.",
        "*",
        "cart.*.cluster.local",
        "sh*.com",
        "s_op.example.com",
    ];
    const SERVICES: &[&str] = &["store/cart", "other", "shop/", "/front"];
    let workload = |name: &str, kind: &str| Workload { name: name.into(), kind: kind.into() };
    let workloads = [workload("front", "Deployment"), workload("", "Deployment"), workload("cart", "")];
    match random.below(46) {
        0 | 1 => filter.source_pod = texts(random, PODS),
        2 | 3 => filter.destination_pod = texts(random, PODS),
        4 => filter.source_service = texts(random, SERVICES),
        5 => filter.destination_service = texts(random, SERVICES),
        6 => filter.source_ip = texts(random, IPS),
        7 => filter.destination_ip = texts(random, IPS),
        8 => filter.source_port = texts(random, PORTS),
        9 | 10 => filter.destination_port = texts(random, PORTS),
        11 => filter.source_label = texts(random, LABELS),
        12 => filter.destination_label = texts(random, LABELS),
        13 => filter.source_workload = random.some(&workloads, 2),
        14 => filter.destination_workload = random.some(&workloads, 2),
        15 => filter.source_identity = random.some(IDENTITIES, 2),
        16 => filter.destination_identity = random.some(IDENTITIES, 2),
        17 | 18 => {
            filter.protocol = texts(random, &["tcp", "UDP", "icmp", "icmpv4", "ICMPv6", "sctp", "dns", "http", "igmp"]);
        }
        19 | 20 => filter.tcp_flags = (0..=random.below(2)).map(|_| flags(random.below(32) as u16)).collect(),
        21 => filter.ip_version = random.some(&[0, 1, 2], 2),
        22 | 23 => filter.verdict = random.some(&[1, 2, 4, 5], 2),
        24 => filter.traffic_direction = random.some(&[0, 1, 2], 2),
        25 | 26 => filter.drop_reason_desc = random.some(&[0, 133, 181, 169, 196, 134], 2),
        27 | 28 => filter.reply = random.some(&[true, false], 2),
        29 => filter.encrypted = random.some(&[true, false], 2),
        30 | 31 => {
            let of = |kind, sub_type: Option<i32>| EventTypeFilter {
                r#type: kind,
                match_sub_type: sub_type.is_some(),
                sub_type: sub_type.unwrap_or_default(),
            };
            let types = [
                of(4, None),
                of(4, Some(0)),
                of(4, Some(3)),
                of(0, Some(10)),
                of(1, None),
                of(1, Some(133)),
                of(1, Some(230)),
                of(5, None),
                of(129, None),
                of(129, Some(0)),
                of(129, Some(1)),
            ];
            filter.event_type = random.some(&types, 2);
        }
        32 => {
            let interface = |index, name: &str| NetworkInterface { index, name: name.into() };
            filter.interface = random.some(&[interface(1, ""), interface(0, "veth1"), interface(2, "veth0")], 2);
        }
        33 => filter.node_name = texts(random, &["n1", "default/n*", "east/n1", "n2"]),
        34 => filter.source_cluster_name = texts(random, CLUSTERS),
        35 => filter.destination_cluster_name = texts(random, CLUSTERS),
        36 => {
            let numbers = (0..=random.below(5)).map(|_| (random.below(100) as u128) << 64 | 0x4 << 76 | 0x2 << 62);
            filter.uuid = numbers.map(super::super::flow_message::uuid).collect();
        }
        37 => filter.source_fqdn = texts(random, FQDNS),
        38 => filter.destination_fqdn = texts(random, FQDNS),
        39 => filter.source_ip_xlated = texts(random, IPS),
        40 => filter.http_status_code = texts(random, &["404", "5+", "20+", "200", "1+"]),
        41 => filter.http_method = texts(random, &["get", "POST", "Delete"]),
        42 => match random.below(3) {
            0 => filter.http_path = texts(random, &["/cart", "^/items$", "^$", "a b", "^[*]$", "id="]),
            1 => filter.http_url = texts(random, &["http://.*", "^/", "id=[0-9]+", "^$", "cart:443"]),
            _ => {
                let header = |key: &str, value: &str| HttpHeader { key: key.into(), value: value.into() };
                let headers = [header("Host", "cart.store"), header("host", "cart.store"), header("Accept", "")];
                filter.http_header = random.some(&headers, 2);
            }
        },
        43 => filter.dns_query = texts(random, &["example", "^cart[.]", "com[.]$", "^$"]),
        44 => match random.below(2) {
            0 => filter.trace_id = texts(random, &["7", "4bf92f3577b34da6a3ce929d0e0e4736"]),
            _ => filter.ip_trace_id = vec![7],
        },
        _ => match random.below(2) {
            0 => filter.node_labels = texts(random, &["zone=a"]),
            _ => filter.experimental = Some(Experimental { cel_expression: vec!["true".into()] }),
        },
    }
}
