//! Each metric on flows of every event, the deletion of pods, and the page.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::{encoding::text::encode, registry::Registry};
use trilobite_crds::hubble_metrics::parse_metrics;

use super::*;
use crate::{
    identity::Pod,
    layers::network::{
        directory::{DirectoryTable, NodePod},
        endpoint::{Endpoint, Reserved},
        flow::{
            Event, L4, L7FlowType, ObservationPoint, PolicyAction, TrafficDirection,
            samples::{dns, drop_by_policy, drop_for_another_reason, forwarded, http, policy_verdict, syn},
        },
        tcp_flags::TcpFlags,
    },
};

fn settings(words: &[&str]) -> FlowMetrics {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let parsed = parse_metrics(&words, &[]);
    assert_eq!(parsed.faults, []);
    FlowMetrics { port: 9965, max_series: 1000, metrics: parsed.metrics }
}

pub(super) fn counting(words: &[&str]) -> HubbleMetrics {
    let metrics = HubbleMetrics::new("reef-1", Ledger::default(), FlowBuffer::default());
    metrics.apply(Some(&settings(words)));
    metrics
}

/// Lines of the page that begin with `prefix`, sorted.
pub(super) fn lines(metrics: &HubbleMetrics, prefix: &str) -> Vec<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics.clone()));
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    let mut lines: Vec<_> = page.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect();
    lines.sort();
    lines
}

pub(super) fn counted(words: &[&str], prefix: &str, flows: &[Flow]) -> Vec<String> {
    let metrics = counting(words);
    flows.iter().for_each(|flow| metrics.record(flow));
    lines(&metrics, prefix)
}

/// A flow to an address outside the cluster.
fn to_world() -> Flow {
    let destination: SocketAddr = "192.0.2.7:443".parse().unwrap();
    let destination_endpoint = Arc::new(Endpoint::reserved(Reserved::World));
    Flow { destination, destination_endpoint, destination_service: None, ..syn() }
}

fn reply(flags: TcpFlags) -> Flow {
    let mut flow = Flow { is_reply: Some(true), ..syn() };
    forwarded(&mut flow).flags = flags;
    flow
}

#[test]
fn flows_are_counted_by_type_verdict_and_node() {
    let flows = [syn(), drop_by_policy(), policy_verdict(PolicyAction::Audit)];
    assert_eq!(
        counted(&["flow"], "hubble_flows_processed_total", &flows),
        [
            r#"hubble_flows_processed_total{protocol="TCP",type="Drop",subtype="",verdict="DROPPED",node_name="reef-1"} 3"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="PolicyVerdict",subtype="",verdict="AUDIT",node_name="reef-1"} 1"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED",node_name="reef-1"} 1"#,
        ]
    );
    assert_eq!(
        counted(&["flow:hubbleLabels"], "hubble_flows_processed_total", &flows[..1]),
        [r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"} 1"#]
    );
}

#[test]
fn drop_is_at_the_side_of_its_direction_and_counts_packets() {
    let flows = [syn(), drop_by_policy(), drop_for_another_reason()];
    assert_eq!(
        counted(&["drop"], "hubble_drop_total", &flows),
        [
            r#"hubble_drop_total{reason="DROP_REASON_UNKNOWN",protocol="TCP",direction="egress",namespace="shop"} 1"#,
            r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP",direction="ingress",namespace="store"} 3"#,
        ]
    );
    assert_eq!(
        counted(&["hubbleLabels", "drop:sourceContext=pod"], "hubble_drop_total", &flows[1..2]),
        [r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP",source="shop/front-1"} 3"#]
    );
    let kernel = counted(&["drop"], "trilobite_network_drop", &flows);
    assert!(kernel.contains(
        &r#"trilobite_network_drops_total{reason="NETFILTER_DROP",place="nft_do_chain",direction="ingress",namespace="store"} 3"#.to_owned()
    ), "{kernel:?}");
    assert!(kernel.iter().any(|line| line.starts_with("trilobite_network_drop_bytes_total") && line.ends_with(" 180")));
}

#[test]
fn syn_and_its_answer_are_told_apart() {
    let flows = [syn(), reply(TcpFlags(0x12)), reply(TcpFlags(0x11)), reply(TcpFlags::RST), drop_by_policy()];
    assert_eq!(
        counted(&["tcp"], "hubble_tcp_flags_total", &flows),
        ["FIN", "RST", "SYN", "SYN-ACK"]
            .map(|flag| format!("hubble_tcp_flags_total{{flag=\"{flag}\",family=\"IPv4\"}} 1"))
    );
}

#[test]
fn ports_of_replies_and_drops_are_not_distributed() {
    let icmp = Flow { l4: L4::Icmp { v6: false, kind: 8, code: 0 }, ..syn() };
    assert_eq!(
        counted(&["port-distribution"], "hubble_port", &[syn(), reply(TcpFlags::ACK), drop_by_policy(), icmp]),
        [
            r#"hubble_port_distribution_total{protocol="ICMPv4",port="0"} 1"#,
            r#"hubble_port_distribution_total{protocol="TCP",port="80"} 1"#,
        ]
    );
}

#[test]
fn icmp_messages_have_their_names() {
    let echo = Flow { l4: L4::Icmp { v6: true, kind: 128, code: 0 }, ..syn() };
    let refused = Flow { l4: L4::Icmp { v6: false, kind: 3, code: 3 }, ..drop_by_policy() };
    assert_eq!(
        counted(&["icmp"], "hubble_icmp", &[echo, refused, syn()]),
        [
            r#"hubble_icmp_total{family="IPv4",type="DestinationUnreachable(Port)"} 3"#,
            r#"hubble_icmp_total{family="IPv6",type="EchoRequest"} 1"#,
        ]
    );
}

#[test]
fn flows_to_world_leave_out_replies_and_other_drops() {
    let dropped = |flow: Flow| Flow { event: flow.event, is_reply: None, ..to_world() };
    let answered = Flow { is_reply: Some(true), ..to_world() };
    let mut ack = to_world();
    forwarded(&mut ack).flags = TcpFlags::ACK;
    let flows = [to_world(), ack, answered, dropped(drop_by_policy()), dropped(drop_for_another_reason()), syn()];
    let series = |verdict: &str, port: &str, count: u32| {
        format!("hubble_flows_to_world_total{{protocol=\"TCP\",verdict=\"{verdict}\"{port}}} {count}")
    };
    let count = |words: &str| counted(&[words], "hubble_flows_to_world", &flows);
    assert_eq!(count("flows-to-world"), [series("DROPPED", "", 3), series("FORWARDED", "", 2)]);
    let port = ",port=\"443\"";
    assert_eq!(count("flows-to-world:any-drop;port"), [series("DROPPED", port, 4), series("FORWARDED", port, 2)]);
    assert_eq!(count("flows-to-world:syn-only"), [series("DROPPED", "", 3), series("FORWARDED", "", 1)]);
    let mut api_server = Endpoint::reserved(Reserved::World);
    api_server.labels.insert(0, "reserved:kube-apiserver".into());
    let outside = Flow { destination_endpoint: Arc::new(api_server), ..to_world() };
    assert_eq!(counted(&["flows-to-world"], "hubble_flows_to_world", &[outside]), [series("FORWARDED", "", 1)]);
}

#[test]
fn verdicts_of_policies_skip_the_host() {
    let from_host =
        Flow { source_endpoint: Arc::new(Endpoint::reserved(Reserved::Host)), ..policy_verdict(PolicyAction::Allowed) };
    let flows = [policy_verdict(PolicyAction::Allowed), policy_verdict(PolicyAction::Denied), from_host, syn()];
    assert_eq!(
        counted(&["policy"], "hubble_policy", &flows),
        [
            r#"hubble_policy_verdicts_total{direction="ingress",match="l3-l4",action="forwarded"} 1"#,
            r#"hubble_policy_verdicts_total{direction="ingress",match="none",action="dropped"} 1"#,
        ]
    );
}

#[test]
fn answered_request_is_counted_with_its_status_from_the_client_on() {
    let flows = [http(L7FlowType::Request, 0), http(L7FlowType::Response, 503), dns(L7FlowType::Response, 0), syn()];
    let words = "httpV2:sourceContext=workload-name;destinationContext=workload-name;labelsContext=source_ip";
    let own = r#"method="GET",protocol="HTTP/1.1",reporter="client",status="503""#;
    let ends = r#"source_ip="10.1.0.7",source="front",destination="cart""#;
    let mut all = counted(&[words], "hubble_http", &flows);
    all.retain(|line| !line.contains("_bucket"));
    assert_eq!(
        all,
        [
            format!(r#"hubble_http_request_duration_seconds_count{{method="GET",reporter="client",{ends}}} 1"#),
            format!(r#"hubble_http_request_duration_seconds_sum{{method="GET",reporter="client",{ends}}} 0.012345678"#),
            format!(r#"hubble_http_requests_total{{{own},status_code="503",{ends}}} 1"#),
            format!(r#"hubble_http_responses_total{{{own},status_code="503",{ends}}} 1"#),
        ]
    );
    assert_eq!(
        counted(&["hubbleLabels", "httpV2"], "hubble_http_re", &flows)
            .into_iter()
            .filter(|line| line.contains("_total"))
            .collect::<Vec<_>>(),
        [format!("hubble_http_requests_total{{{own}}} 1")]
    );
}

#[test]
fn requests_and_responses_are_counted_apart() {
    let mut seen_by_server = http(L7FlowType::Response, 200);
    seen_by_server.direction = TrafficDirection::Ingress;
    let flows = [http(L7FlowType::Request, 0), seen_by_server, drop_by_policy()];
    let all = counted(&["http:sourceContext=pod-name"], "hubble_http_re", &flows);
    let totals: Vec<_> = all.iter().filter(|line| line.contains("_total")).collect();
    assert_eq!(
        totals,
        [
            r#"hubble_http_requests_total{method="GET",protocol="HTTP/1.1",reporter="client",source="front-1"} 1"#,
            r#"hubble_http_responses_total{method="GET",protocol="HTTP/1.1",reporter="server",status="200",status_code="200",source="cart-1"} 1"#,
        ]
    );
    assert!(
        all.iter().any(|line| line.starts_with("hubble_http_request_duration_seconds_count") && line.ends_with(" 1"))
    );
}

#[test]
fn duration_is_in_the_first_bucket_that_has_room_for_it() {
    let took = |nanoseconds: u64| {
        let mut flow = http(L7FlowType::Response, 200);
        if let Event::L7(l7) = &mut flow.event {
            l7.latency_ns = nanoseconds;
        }
        flow
    };
    let flows = [took(0), took(5_000_000), took(5_000_001), took(10_000_000_000), took(60_000_000_000)];
    let count = |end: &str| {
        let end = format!("le=\"{end}\"");
        let lines = counted(&["httpV2"], "hubble_http_request_duration_seconds_bucket", &flows);
        lines.iter().find(|line| line.contains(&end)).unwrap().rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(["0.005", "0.01", "5.0", "10.0", "+Inf"].map(count), ["2", "3", "3", "4", "5"]);
}

#[test]
fn series_of_a_response_leave_with_the_pod_of_its_request() {
    let (table, directories) = directory();
    let metrics = counting(&["httpV2:sourceContext=ip;destinationContext=pod"]);
    metrics.record(&http(L7FlowType::Response, 200));
    let start = Instant::now();
    let after = |seconds| {
        metrics.sweep(start + Duration::from_secs(seconds), &directories);
        lines(&metrics, "hubble_http_requests_total").len()
    };
    assert_eq!(after(0), 1);
    // As with Hubble, the context of the flow's destination, which is the client, names the label of the source.
    table.remove_pod("front-1");
    assert_eq!((after(20), after(90)), (1, 0));
}

#[test]
fn request_counts_as_a_flow_and_as_a_verdict() {
    let flows = [http(L7FlowType::Request, 0), dns(L7FlowType::Response, 3)];
    for (word, prefix, expected) in [
        (
            "flow:hubbleLabels",
            "hubble_flows",
            [r#"protocol="DNS",type="L7",subtype="DNS""#, r#"protocol="HTTP",type="L7",subtype="HTTP""#],
        ),
        ("policy", "hubble_policy", [r#"match="l7/dns",action="forwarded""#, r#"match="l7/http",action="forwarded""#]),
        ("port-distribution", "hubble_port", [r#"protocol="TCP",port="80""#, ""]),
    ] {
        let counted = counted(&[word], prefix, &flows);
        for (line, expected) in counted.iter().zip(expected) {
            assert!(line.contains(expected), "{line}");
        }
        assert_eq!(counted.len(), expected.iter().filter(|text| !text.is_empty()).count());
    }
}

#[test]
fn first_context_with_a_text_names_an_end() {
    let words = "tcp:sourceContext=dns|workload;destinationContext=pod-name|reserved-identity";
    let [line] = &counted(&[words], "hubble_tcp", &[to_world()])[..] else { panic!() };
    assert!(line.contains(r#"source="shop/front",destination="reserved:world"}"#), "{line}");
    let words = "tcp:destinationContext=ip;destinationEgressContext=app";
    let ingress = Flow { direction: TrafficDirection::Ingress, ..syn() };
    let values = counted(&[words], "hubble_tcp", &[syn(), ingress]);
    assert!(
        values[0].contains(r#"destination="10.2.0.9""#) && values[1].contains(r#"destination="cart""#),
        "{values:?}"
    );
}

#[test]
fn all_thirteen_labels_are_in_hubbles_order() {
    let labels = "traffic_direction,source_ip,source_pod,source_namespace,source_workload,source_workload_kind,source_app,\
                  destination_ip,destination_pod,destination_namespace,destination_workload,destination_workload_kind,destination_app";
    let [line] = &counted(&[&format!("tcp:labelsContext={labels}")], "hubble_tcp", &[syn()])[..] else { panic!() };
    let expected = r#"source_ip="10.1.0.7",source_pod="front-1",source_namespace="shop",source_workload="front",source_workload_kind="Deployment",source_app="front",destination_ip="10.2.0.9",destination_pod="cart-1",destination_namespace="store",destination_workload="cart",destination_workload_kind="Deployment",destination_app="cart",traffic_direction="egress"}"#;
    assert!(line.contains(expected), "{line}");
}

#[test]
fn traffic_is_counted_where_it_is_sent_and_where_it_arrives() {
    let mut arrives = syn();
    forwarded(&mut arrives).observation_point = ObservationPoint::ToEndpoint;
    let flows = [syn(), Flow { destination_service: None, ..arrives }, to_world()];
    assert_eq!(
        counted(&["tcp"], "trilobite_network_bytes_total", &flows),
        [
            r#"trilobite_network_bytes_total{source="shop/front",destination="reserved:world",direction="egress",scope="world"} 74"#,
            r#"trilobite_network_bytes_total{source="shop/front",destination="store/cart",direction="egress",scope="service"} 74"#,
            r#"trilobite_network_bytes_total{source="shop/front",destination="store/cart",direction="ingress",scope="pod"} 74"#,
        ]
    );
}

#[test]
fn nothing_is_counted_while_nothing_asks() {
    let metrics = counting(&["tcp"]);
    metrics.record(&syn());
    assert_eq!(metrics.problem(), None);
    metrics.apply(None);
    metrics.record(&syn());
    assert!(lines(&metrics, "hubble_tcp").is_empty() && lines(&metrics, "trilobite_network_bytes").is_empty());
    metrics.apply(Some(&settings(&["tcp"])));
    assert!(lines(&metrics, "hubble_tcp").is_empty());
}

#[test]
fn metric_that_stays_the_same_keeps_its_counts() {
    let metrics = counting(&["tcp", "drop"]);
    [syn(), drop_by_policy()].iter().for_each(|flow| metrics.record(flow));
    metrics.apply(Some(&settings(&["drop:sourceContext=ip", "tcp"])));
    assert_eq!(lines(&metrics, "hubble_tcp").len(), 1);
    assert!(lines(&metrics, "hubble_drop").is_empty());
}

/// A directory that has the pods of `syn`.
fn directory() -> (Arc<DirectoryTable>, Vec<Arc<dyn Directory>>) {
    let table = Arc::new(DirectoryTable::new("reef-1"));
    for (namespace, name, ip) in [("shop", "front-1", "10.1.0.7"), ("store", "cart-1", "10.2.0.9")] {
        let (ips, uid) = (vec![ip.parse().unwrap()], name.to_owned());
        let pod = Pod { uid, name: name.into(), namespace: namespace.into(), ips, ..Pod::default() };
        table.put_pod(&NodePod { pod, ..NodePod::default() });
    }
    (table.clone(), vec![table])
}

#[test]
fn series_of_a_deleted_pod_leave_after_a_minute() {
    for (word, prefix) in [
        ("drop:destinationContext=pod", "hubble_drop"),
        ("drop:sourceContext=namespace;destinationContext=dns|pod", "hubble_drop"),
        ("drop:labelsContext=destination_pod,destination_namespace", "hubble_drop"),
    ] {
        let (table, directories) = directory();
        let metrics = counting(&[word]);
        metrics.record(&drop_by_policy());
        let start = Instant::now();
        let after = |seconds| {
            metrics.sweep(start + Duration::from_secs(seconds), &directories);
            lines(&metrics, prefix).len()
        };
        assert_eq!((after(0), after(20)), (1, 1), "{word}");
        table.remove_pod("cart-1");
        assert_eq!((after(40), after(90)), (1, 1), "{word}");
        assert_eq!(after(101), 0, "{word}");
    }
}

#[test]
fn bytes_of_a_deleted_pod_without_a_workload_leave_as_well() {
    let (table, directories) = directory();
    let bare = Endpoint { workload: None, ..(*syn().source_endpoint).clone() };
    let metrics = counting(&["port-distribution"]);
    metrics.record(&Flow { source_endpoint: Arc::new(bare), ..syn() });
    metrics.record(&syn());
    let start = Instant::now();
    let after = |seconds| {
        metrics.sweep(start + Duration::from_secs(seconds), &directories);
        lines(&metrics, "trilobite_network_bytes_total")
    };
    assert_eq!(after(0).len(), 2);
    table.remove_pod("front-1");
    assert_eq!(after(10).len(), 2);
    let [left] = &after(80)[..] else { panic!() };
    assert!(left.contains(r#"source="shop/front""#), "{left}");
}

#[test]
fn series_stay_while_their_pod_may_exist() {
    let metrics = counting(&["drop:destinationContext=pod"]);
    metrics.record(&drop_by_policy());
    let start = Instant::now();
    for seconds in [0, 100, 200] {
        metrics.sweep(start + Duration::from_secs(seconds), &[]);
    }
    assert_eq!(lines(&metrics, "hubble_drop").len(), 1);
    let (_, directories) = directory();
    for seconds in [300, 400] {
        metrics.sweep(start + Duration::from_secs(seconds), &directories);
    }
    assert_eq!(lines(&metrics, "hubble_drop").len(), 1);
}

#[test]
fn workload_is_not_taken_for_a_deleted_pod() {
    let (_, directories) = directory();
    let metrics = counting(&["drop:destinationContext=workload|pod"]);
    metrics.record(&drop_by_policy());
    let start = Instant::now();
    for seconds in [0, 100, 200] {
        metrics.sweep(start + Duration::from_secs(seconds), &directories);
    }
    assert_eq!(lines(&metrics, "hubble_drop").len(), 1);
}

#[test]
fn lost_events_have_hubbles_sources() {
    let ledger = Ledger::default();
    ledger.record_loss(LossPoint::FlowRing, "", 4);
    ledger.record_loss(LossPoint::DropMap, "", 1);
    ledger.record_loss_of_kind(LossPoint::StreamReader, "", FLOWS_MISSED, 2);
    ledger.record_loss(LossPoint::StreamReader, "", 9);
    ledger.record_loss_of_kind(LossPoint::HttpFlows, "", "queue", 3);
    let metrics = HubbleMetrics::new("reef-1", ledger, FlowBuffer::default());
    assert_eq!(
        lines(&metrics, "hubble_lost_events_total"),
        [
            r#"hubble_lost_events_total{source="hubble_ring_buffer"} 2"#,
            r#"hubble_lost_events_total{source="observer_events_queue"} 3"#,
            r#"hubble_lost_events_total{source="perf_event_ring_buffer"} 5"#,
        ]
    );
}

#[test]
fn million_addresses_stay_within_the_limit_of_each_metric() {
    let metrics = counting(&["tcp:sourceContext=ip", "flow:labelsContext=source_ip", "port-distribution"]);
    let mut flow = syn();
    for number in 0..1_000_000u32 {
        flow.source = SocketAddr::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into(), 40_000);
        metrics.record(&flow);
    }
    let series = metrics.engine.lock().as_ref().unwrap().series();
    assert!(series <= 2 * (1000 + 1) + 1, "{series}");
    let message = metrics.problem().unwrap().message();
    assert!(message.starts_with("hubble_tcp_flags_total has its most series, 1000: "), "{message}");
    let dropped = lines(&metrics, "trilobite_network_metric_series_dropped_total{metric=\"hubble_tcp");
    assert_eq!(dropped, [r#"trilobite_network_metric_series_dropped_total{metric="hubble_tcp_flags_total"} 999000"#]);
}
