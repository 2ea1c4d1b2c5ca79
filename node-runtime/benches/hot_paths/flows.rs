//! What one flow costs: decode, enrich, filter and encode, alone and one after the other.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput};
use trilobite_api::flow::FlowFilter;
use trilobite_crds::stack::NetworkMetricsSpec;
use trilobite_node::{
    identity::Pod,
    layers::network::{
        decode,
        directory::{DirectoryTable, NodePod},
        enrich::{Enricher, WatchTarget},
        flow::{Event, Flow, Interface},
        history::FlowBuffer,
        hubble_metrics::HubbleMetrics,
    },
    loss::Ledger,
    serve::hubble::{self, FlowFilters},
};
use trilobite_node_ebpf::{FlowDirection, FlowKey, FlowReason, FlowRecord, RecordKind};
use zerocopy::IntoBytes;

use super::events::header;

/// The first packet of a TCP connection from 10.0.0.1 to 10.0.0.2, received by interface 12.
fn flow_record() -> Vec<u8> {
    let address = |last| [&[10, 0, 0, last], [0; 12].as_slice()].concat().try_into().expect("16 bytes");
    let record = FlowRecord {
        header: header(RecordKind::Flow, size_of::<FlowRecord>()),
        key: FlowKey {
            source: address(1),
            destination: address(2),
            interface: 12,
            source_port: 40000u16.to_be(),
            destination_port: 80u16.to_be(),
            protocol: 6,
            family: 4,
            direction: FlowDirection::In as u8,
            ..FlowKey::default()
        },
        flags: 2,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        reason: FlowReason::New as u8,
        ..FlowRecord::default()
    };
    record.as_bytes().to_vec()
}

fn pod(name: &str, address: &str) -> Pod {
    Pod {
        uid: name.into(),
        namespace: "payments".into(),
        name: format!("{name}-7f9c-x2"),
        labels: [("tier", "back"), ("app", name)].map(|(key, value)| (key.into(), value.into())).into(),
        workload: name.into(),
        workload_kind: "Deployment".into(),
        ips: vec![address.parse().expect("an address")],
        node: "reef".into(),
        ..Pod::default()
    }
}

/// Two pods of this node; `till` is behind the interface of the record.
fn enricher() -> Enricher {
    let table = DirectoryTable::new("reef");
    let (till, ledger) = (pod("till", "10.0.0.1"), pod("ledger", "10.0.0.2"));
    for pod in [&till, &ledger] {
        table.put_pod(&NodePod { pod: pod.clone(), ..NodePod::default() });
    }
    let mut enricher = Enricher::new(1);
    enricher.directories.extend([Arc::new(table) as Arc<_>, Arc::new(DirectoryTable::new("reef")) as Arc<_>]);
    let interface = Interface { index: 12, name: "veth0123".into() };
    enricher.watch(&WatchTarget { interface, pod: Some(Arc::new(till)), behind: true });
    enricher
}

/// Counts the default metrics of a stack.
fn metrics() -> HubbleMetrics {
    let metrics = HubbleMetrics::new("reef", Ledger::default(), FlowBuffer::default());
    metrics.apply(Some(&NetworkMetricsSpec::default().settings()));
    metrics
}

/// The flow to 64 ports, each with a packet.
fn to_many_ports(flow: &Flow) -> Vec<Flow> {
    let to_port = |port| {
        let mut flow = flow.clone();
        flow.destination.set_port(port);
        if let Event::Forwarded(forwarded) = &mut flow.event {
            (forwarded.since.packets, forwarded.since.bytes) = (1, 74);
        }
        flow
    };
    (8000..8064).map(to_port).collect()
}

pub(super) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one flow");
    group.throughput(Throughput::Elements(1));
    let bytes = flow_record();
    let observation = decode::decode(&bytes).expect("a record");
    let mut enricher = enricher();
    let flow = enricher.flow(&observation, 0);
    assert!(flow.source_endpoint.pod.starts_with("till") && flow.destination_endpoint.pod.starts_with("ledger"));
    let wanted = FlowFilter { source_pod: vec!["payments/till".into()], ..FlowFilter::default() };
    let filters = FlowFilters::new(&[wanted], &[], "reef").expect("a filter");
    assert!(filters.pass(&flow));

    group.bench_function("decode", |bencher| bencher.iter(|| decode::decode(black_box(&bytes))));
    group.bench_function("enrich", |bencher| bencher.iter(|| enricher.flow(black_box(&observation), 0)));
    group.bench_function("filter", |bencher| bencher.iter(|| filters.pass(black_box(&flow))));
    group.bench_function("encode as a message", |bencher| bencher.iter(|| hubble::response(black_box(&flow), "reef")));
    let (metrics, flows) = (metrics(), to_many_ports(&flow));
    let mut turns = flows.iter().cycle();
    group.bench_function("count in metrics", |bencher| {
        bencher.iter(|| turns.by_ref().take(1).for_each(|flow| metrics.record(black_box(flow))));
    });
    let mut line = Vec::new();
    group.bench_function("encode as a JSON line", |bencher| {
        bencher.iter(|| {
            line.clear();
            hubble::append_json_line(black_box(&flow), "reef", &mut line);
            line.len()
        });
    });
    group.bench_function("all, from the record to the JSON line", |bencher| {
        bencher.iter(|| {
            line.clear();
            let flow = decode::decode(black_box(&bytes)).map(|observation| enricher.flow(&observation, 0));
            if let Some(flow) = flow.filter(|flow| filters.pass(flow)) {
                hubble::append_json_line(&flow, "reef", &mut line);
            }
            line.len()
        });
    });
    group.finish();
}
