//! Flows of every event, and the series that they make here: `e2e/hubble-metrics` gives the same flows to Hubble's own handlers.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;
use trilobite_api::flow::DropReason;
use trilobite_crds::hubble_metrics::{FlowMetrics, parse_metrics};

use super::append_json_line;
use crate::{
    layers::network::{
        endpoint::{Endpoint, Reserved},
        flow::{
            Event, Flow, L4, L7FlowType, L7Record, ObservationPoint, PolicyAction, TrafficDirection,
            samples::{dns, drop_by_policy, forwarded, http, policy_verdict, syn},
        },
        history::FlowBuffer,
        hubble_metrics::HubbleMetrics,
        tcp_flags::TcpFlags,
    },
    loss::Ledger,
};

const FLOWS: usize = 5000;
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/hubble-metrics");

/// Metrics in Hubble's words, all with its own labels only.
const CASES: &[&[&str]] = &[
    &[
        "hubbleLabels",
        "dns:hubbleRcode",
        "drop",
        "flow",
        "flows-to-world",
        "http",
        "icmp",
        "policy",
        "port-distribution",
        "tcp",
    ],
    &[
        "dns:hubbleRcode;query;ignoreAAAA;sourceContext=pod;destinationContext=dns|workload-name|reserved-identity",
        "drop:hubbleLabels;sourceContext=pod;destinationContext=identity",
        "flow:hubbleLabels;sourceContext=pod-name|reserved-identity;destinationContext=workload",
        "flows-to-world:any-drop;port;syn-only;sourceContext=workload-name",
        "httpV2:hubbleLabels;sourceContext=pod;destinationContext=workload-name|reserved-identity",
        "icmp:sourceContext=app;destinationContext=ip",
        "policy:sourceContext=namespace;destinationContext=dns|workload-name|reserved-identity",
        "port-distribution:sourceContext=reserved-identity|pod;destinationContext=app|ip",
        "tcp:sourceContext=ip;destinationContext=namespace|identity",
    ],
    &[
        "dns:hubbleRcode;ignoreAAAA;sourceIngressContext=ip;destinationEgressContext=pod-name|ip",
        "drop:hubbleLabels;sourceEgressContext=pod;sourceIngressContext=ip;destinationIngressContext=namespace",
        "flow:hubbleLabels;sourceContext=app;sourceEgressContext=identity;destinationEgressContext=workload",
        "flows-to-world:port;any-drop;sourceIngressContext=pod;destinationContext=reserved-identity",
        "http:hubbleLabels;sourceContext=namespace;destinationContext=dns|app;destinationEgressContext=ip",
        "tcp:sourceContext=namespace;sourceIngressContext=workload|ip;destinationEgressContext=pod-name",
        "policy:destinationIngressContext=pod;destinationEgressContext=ip",
    ],
    &[
        "dns:hubbleRcode;query;labelsContext=source_namespace,destination_namespace,traffic_direction",
        "drop:hubbleLabels;labelsContext=source_ip,source_pod,source_namespace,source_workload,source_workload_kind,source_app,\
         traffic_direction",
        "flow:hubbleLabels;labelsContext=destination_ip,destination_pod,destination_namespace,destination_workload,\
         destination_workload_kind,destination_app,traffic_direction;sourceContext=ip",
        "flows-to-world:any-drop;labelsContext=traffic_direction,source_app",
        "httpV2:hubbleLabels;exemplars=false;labelsContext=source_ip,source_namespace,source_workload,destination_ip,\
         destination_namespace,destination_workload,traffic_direction;sourceContext=app",
        "icmp:labelsContext=traffic_direction,destination_ip,source_ip",
        "policy:labelsContext=source_workload,destination_workload;sourceContext=namespace;destinationContext=namespace",
        "tcp:labelsContext=source_namespace,destination_namespace,source_workload_kind",
    ],
];

/// The same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

fn endpoints() -> Vec<Arc<Endpoint>> {
    let pod = |namespace: &str, pod: &str, labels: &[&str], workload: Option<(&str, &str)>| Endpoint {
        identity: 1000 + u32::try_from(labels.len()).unwrap(),
        namespace: namespace.into(),
        pod: pod.into(),
        uid: pod.into(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        workload: workload.map(|(name, kind)| (name.into(), kind.into())),
    };
    let of_service = Endpoint { pod: String::new(), workload: None, ..pod("store", "", &["k8s:app=cart"], None) };
    let reserved = [Reserved::Host, Reserved::World, Reserved::RemoteNode, Reserved::KubeApiserver, Reserved::Unknown];
    let mut api_server = Endpoint::reserved(Reserved::World);
    api_server.labels.insert(0, "reserved:kube-apiserver".into());
    let pods = [
        pod("shop", "front-1", &["k8s:app=front", "k8s:tier=web"], Some(("front", "Deployment"))),
        pod("shop", "bare", &[], None),
        pod("store", "cart-1", &["k8s:app.kubernetes.io/name=cart", "k8s:k8s-app="], Some(("cart", "StatefulSet"))),
        pod("kube-system", "dns-1", &["k8s:k8s-app=kube-dns"], Some(("dns", "DaemonSet"))),
        of_service,
        api_server,
    ];
    pods.into_iter().chain(reserved.map(Endpoint::reserved)).map(Arc::new).collect()
}

fn flow(numbers: &mut Numbers, endpoints: &[Arc<Endpoint>]) -> Flow {
    let is_v6 = numbers.below(3) == 0;
    let mut address = || {
        let (last, port) = (numbers.below(6), numbers.pick(&[53u16, 80, 443, 40_000]));
        let ip = if is_v6 { format!("fd00::{last}") } else { format!("10.1.0.{last}") };
        SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
    };
    let (source, destination) = (address(), address());
    let v6_kinds = [(128, 0), (129, 0), (1, 4), (3, 0), (135, 0), (200, 7)];
    let v4_kinds = [(8, 0), (0, 0), (3, 3), (3, 99), (11, 0), (8, 5), (200, 7)];
    let (kind, code) = if is_v6 { numbers.pick(&v6_kinds) } else { numbers.pick(&v4_kinds) };
    let l4 = numbers.pick(&[L4::Tcp, L4::Tcp, L4::Tcp, L4::Udp, L4::Icmp { v6: is_v6, kind, code }]);
    let flags = match l4 {
        L4::Tcp => numbers.pick(&[0x02, 0x12, 0x10, 0x11, 0x04, 0x14, 0x18, 0x00].map(TcpFlags)),
        _ => TcpFlags::default(),
    };
    let is_reply = numbers.pick(&[Some(false), Some(false), Some(true)]);
    let directions = [TrafficDirection::Ingress, TrafficDirection::Egress, TrafficDirection::Unknown];
    let names = ["cart.example.com", "example.com"].map(str::to_owned).to_vec();
    let mut sample = match numbers.below(12) {
        0 | 1 => {
            let reasons = [
                DropReason::PolicyDenied,
                DropReason::PolicyDeny,
                DropReason::FibLookupFailed,
                DropReason::ServiceBackendNotFound,
                DropReason::Unknown,
            ];
            let mut dropped = Flow { is_reply: numbers.pick(&[None, is_reply]), ..drop_by_policy() };
            if let Event::Dropped(event) = &mut dropped.event {
                event.reason = numbers.pick(&reasons);
                event.sub_type = if event.reason == DropReason::Unknown { 230 } else { event.reason.into() };
                event.packets = 1 + numbers.below(4) as u64;
                event.flags = flags;
            }
            dropped
        }
        2 | 3 => {
            let actions = [PolicyAction::Allowed, PolicyAction::Denied, PolicyAction::Audit];
            let mut verdict = Flow { is_reply, ..policy_verdict(numbers.pick(&actions)) };
            if let Event::PolicyVerdict(event) = &mut verdict.event {
                event.match_type = u32::try_from(numbers.below(8)).unwrap();
                event.flags = flags;
            }
            verdict
        }
        4 => {
            let flow_type = numbers.pick(&[L7FlowType::Request, L7FlowType::Response]);
            let mut said = http(flow_type, numbers.pick(&[200, 404, 503]));
            if let Event::L7(l7) = &mut said.event
                && let L7Record::Http(http) = &mut l7.record
            {
                http.method = numbers.pick(&["GET", "POST", "PUT"]).to_owned();
                http.protocol = numbers.pick(&["HTTP/1.1", "HTTP/2"]).to_owned();
                if flow_type == L7FlowType::Response {
                    // Whole milliseconds: sums are compared as they are printed.
                    l7.latency_ns = numbers.pick(&[0, 5, 6, 100, 2_500, 60_000]) * 1_000_000;
                }
            }
            said
        }
        5 => {
            let flow_type = numbers.pick(&[L7FlowType::Request, L7FlowType::Response]);
            let mut said = dns(flow_type, numbers.pick(&[0, 2, 3, 9, 16, 4000]));
            if let Event::L7(l7) = &mut said.event
                && let L7Record::Dns(dns) = &mut l7.record
            {
                let types = numbers.pick(&[&["A"][..], &["AAAA"], &["A", "AAAA"], &[]]);
                dns.qtypes = types.iter().map(|kind| (*kind).to_owned()).collect();
                dns.query = numbers.pick(&["shop.example.com.", "cart.store."]).to_owned();
            }
            said
        }
        _ => {
            let mut passed = Flow { is_reply, ..syn() };
            forwarded(&mut passed).flags = flags;
            forwarded(&mut passed).observation_point = numbers.pick(&ObservationPoint::ALL);
            passed
        }
    };
    sample.uuid = u128::from(numbers.next());
    (sample.l4, sample.source, sample.destination) = (l4, source, destination);
    sample.destination_names = numbers.pick(&[None, None, Some(Arc::new(names))]);
    (sample.source_endpoint, sample.destination_endpoint) = (numbers.pick(endpoints), numbers.pick(endpoints));
    sample.direction = numbers.pick(&directions);
    sample
}

/// The series of Hubble's handlers, each as `name{label="value",...} count` with sorted labels. Without words, those of the
/// default metrics.
fn series(words: &[&str], flows: &[Flow]) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let parsed = parse_metrics(&words, &[]);
    assert_eq!(parsed.faults, []);
    let metrics = HubbleMetrics::new("reef-1", Ledger::default(), FlowBuffer::default());
    metrics.apply(Some(&FlowMetrics { port: 1, max_series: 100_000, metrics: parsed.metrics }));
    flows.iter().for_each(|flow| metrics.record(flow));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics));
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    let is_handlers = |line: &&str| line.starts_with("hubble_") && !line.starts_with("hubble_lost_events");
    let mut series: Vec<String> = page.lines().filter(is_handlers).map(with_sorted_labels).collect();
    series.sort();
    series
}

fn with_sorted_labels(line: &str) -> String {
    let (name, rest) = line.split_once('{').unwrap();
    let (labels, count) = rest.rsplit_once("} ").unwrap();
    let labels = labels.split_inclusive("\",").map(|label| label.trim_end_matches(','));
    let mut labels: Vec<String> = labels.map(with_three_decimals).collect();
    labels.sort_unstable();
    format!("{name}{{{}}} {:.3}", labels.join(","), count.parse::<f64>().unwrap())
}

/// The end of a bucket is written in more than one way.
fn with_three_decimals(label: &str) -> String {
    let end = label.strip_prefix("le=\"").and_then(|end| end.strip_suffix('"')?.parse::<f64>().ok());
    end.filter(|end| end.is_finite()).map_or_else(|| label.to_owned(), |end| format!("le=\"{end:.3}\""))
}

#[test]
fn flows_and_series_are_written_for_hubbles_own_handlers() {
    let (mut numbers, endpoints) = (Numbers(12), endpoints());
    let flows: Vec<Flow> = (0..FLOWS).map(|_| flow(&mut numbers, &endpoints)).collect();
    let mut lines = Vec::new();
    for flow in &flows {
        // Hubble has an event for each dropped packet.
        let packets = if let Event::Dropped(dropped) = &flow.event { dropped.packets } else { 1 };
        (0..packets).for_each(|_| append_json_line(flow, "reef-1", &mut lines));
    }
    let cases: Vec<_> =
        CASES.iter().map(|words| json!({ "metrics": words, "series": series(words, &flows) })).collect();
    for (case, at_least) in cases.iter().zip([100, 400, 300, 400]) {
        let count = case["series"].as_array().unwrap().len();
        assert!(count >= at_least, "{count} series of {}", case["metrics"]);
    }
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("flows.jsonl"), lines).unwrap();
    fs::write(folder.join("cases.json"), serde_json::to_vec(&cases).unwrap()).unwrap();
    // For Hubble's dashboards.
    fs::write(folder.join("default.json"), serde_json::to_vec(&series(&[], &flows)).unwrap()).unwrap();
}
