//! The pure paths that every event takes, one event at a time: decoding an exec and a flow, and writing an event as JSON.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::{hint::black_box, mem::offset_of, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use trilobite_node::{
    identity::{Container, Located, Pod, PodContainer, Process, decode},
    kernel::clock::Booted,
    layers::{
        network::record,
        security::{SecurityEvent, SecurityEventKind},
    },
    serve::tetragon::{Scene, append_json_line},
};
use trilobite_node_ebpf::{
    flow::{FlowKey, FlowReason, FlowRecord},
    limits::RECORD_LAYOUT,
    process::{ExecRecord, flag},
    record::{Record, RecordKind},
};

/// `/usr/bin/curl -s http://till/` in `/srv/job`, as the kernel writes it.
fn exec_record() -> Vec<u8> {
    let parts: [&[u8]; 3] = [b"/usr/bin/curl\0", b"job\0srv\0", b"curl\0-s\0http://till/\0"];
    let mut bytes = with_header(RecordKind::Exec, size_of::<ExecRecord>() + parts.concat().len());
    bytes.resize(size_of::<ExecRecord>(), 0);
    let lengths =
        [offset_of!(ExecRecord, filename_bytes), offset_of!(ExecRecord, cwd_bytes), offset_of!(ExecRecord, args_bytes)];
    for (at, part) in lengths.into_iter().zip(parts) {
        put(&mut bytes, at, &u16::try_from(part.len()).expect("short").to_ne_bytes());
    }
    put(&mut bytes, offset_of!(ExecRecord, flags), &(flag::EXECVE | flag::CLONE).to_ne_bytes());
    bytes.extend(parts.concat());
    bytes
}

/// The first packet of a TCP connection.
fn flow_record() -> Vec<u8> {
    let size = size_of::<FlowRecord>();
    let mut bytes = with_header(RecordKind::Flow, size);
    bytes.resize(size, 0);
    put(&mut bytes, offset_of!(FlowRecord, key) + offset_of!(FlowKey, source), &[10, 0, 0, 1]);
    put(&mut bytes, offset_of!(FlowRecord, key) + offset_of!(FlowKey, destination), &[10, 0, 0, 2]);
    put(&mut bytes, offset_of!(FlowRecord, key) + offset_of!(FlowKey, protocol), &[6, 4, 1]);
    put(&mut bytes, offset_of!(FlowRecord, reason), &[FlowReason::New as u8]);
    bytes
}

fn with_header(kind: RecordKind, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<Record>()];
    put(&mut bytes, offset_of!(Record, layout), &RECORD_LAYOUT.to_ne_bytes());
    put(&mut bytes, offset_of!(Record, kind), &(kind as u16).to_ne_bytes());
    put(&mut bytes, offset_of!(Record, size), &u32::try_from(size).expect("short").to_ne_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A process of a pod with two labels and one container, and its parent.
fn event() -> SecurityEvent {
    let id = "0123456789abcdef".repeat(4);
    let container = Container { name: "till".into(), id: format!("containerd://{id}"), ..Container::default() };
    let pod = Pod {
        namespace: "payments".into(),
        name: "cashier-7f9c-x2".into(),
        labels: [("tier", "back"), ("app", "cashier")].map(|(key, value)| (key.into(), value.into())).into(),
        workload: "cashier".into(),
        workload_kind: "Deployment".into(),
        containers: vec![container.clone()],
        ..Pod::default()
    };
    let pod = Arc::new(PodContainer { pod: Arc::new(pod), container: Some(container), container_id: id });
    let process = |binary: &str, arguments: &str| Located {
        process: Arc::new(Process {
            binary: binary.into(),
            arguments: arguments.into(),
            cwd: "/srv/job".into(),
            flags: "execve clone".into(),
            ..Process::default()
        }),
        pod: Some(pod.clone()),
    };
    SecurityEvent {
        time: Timestamp::UNIX_EPOCH,
        process: process("/usr/bin/curl", "-s http://till/"),
        parent: Some(process("/bin/sh", "-c \"curl -s http://till/\"")),
        kind: SecurityEventKind::Exec,
    }
}

fn hot_paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one event");
    group.throughput(Throughput::Elements(1));
    let bytes = exec_record();
    assert!(decode::process(&bytes).is_some(), "the record is none");
    group.bench_function("decode an exec record", |bencher| bencher.iter(|| decode::process(black_box(&bytes))));
    let bytes = flow_record();
    assert!(record::decode(&bytes).is_some(), "the record is none");
    group.bench_function("decode a flow record", |bencher| bencher.iter(|| record::decode(black_box(&bytes))));
    let booted = Arc::new(Booted::fixed(Timestamp::UNIX_EPOCH));
    let scene = Scene { node_name: "reef".into(), cluster_name: "".into(), booted };
    let event = event();
    group.bench_function("process_exec as a message", |bencher| bencher.iter(|| scene.message(black_box(&event))));
    let message = scene.message(&event);
    let mut line = Vec::new();
    group.bench_function("process_exec as a JSON line", |bencher| {
        bencher.iter(|| {
            line.clear();
            append_json_line(black_box(&message), &mut line);
            line.len()
        });
    });
    group.finish();
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
