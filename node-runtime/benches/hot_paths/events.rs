//! What one exec costs the agent: a fork, an exec and an exit record through every stage, stage by stage and as a whole.

use std::{hint::black_box, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use criterion::{Criterion, Throughput};
use jiff::Timestamp;
use prost::Message;
use trilobite_api::tetragon::{Filter, GetEventsResponse};
use trilobite_node::{
    identity::{Container, ExecKey, IdentityService, Pod, decode, process::cache::ProcessCache},
    kernel::{Facts, clock::BootTime},
    layers::security::{
        SecurityEvent,
        deliver::{EventConsumer, EventDispatcher},
        event_bus::{EventBus, StreamItem, Subscription},
    },
    loss::{Ledger, LossPoint},
    serve::tetragon::{EventEncoder, EventFilters, append_json_line},
};
use trilobite_node_ebpf::{
    ExecRecord, ExitRecord, ForkRecord, RECORD_LAYOUT, Record, RecordKind, TaskCredentials, process_flag,
};
use zerocopy::IntoBytes;

const POD_UID: &str = "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
const SHELL: ExecKey = ExecKey { ktime: 1000, pid: 7 };

pub(super) fn header(kind: RecordKind, size: usize) -> Record {
    let size = u32::try_from(size).expect("short");
    Record { layout: RECORD_LAYOUT, kind: kind as u16, size, ..Record::default() }
}

fn header_of_process(kind: RecordKind, size: usize, key: ExecKey, cgroup: u64) -> Record {
    let ExecKey { ktime, pid } = key;
    Record { time: ktime, cgroup, exec_ktime: ktime, exec_pid: pid, tid: pid, ..header(kind, size) }
}

/// `/usr/bin/curl -s http://till/` in `/srv/job`, in the format of the kernel.
fn exec_record(key: ExecKey, parent: ExecKey, cgroup: u64) -> Vec<u8> {
    let parts: [&[u8]; 4] = [b"/usr/bin/curl\0", b"job\0srv\0", b"curl\0bin\0usr\0", b"curl\0-s\0http://till/\0"];
    let credentials = TaskCredentials { permitted: 0xa804_25fb, effective: 0xa804_25fb, ..TaskCredentials::default() };
    let length = |part: &[u8]| u16::try_from(part.len()).expect("short");
    let size = size_of::<ExecRecord>() + parts.concat().len();
    let record = ExecRecord {
        header: header_of_process(RecordKind::Exec, size, key, cgroup),
        parent_ktime: parent.ktime,
        parent_pid: parent.pid,
        flags: process_flag::EXECVE | process_flag::CLONE,
        credentials,
        filename_bytes: length(parts[0]),
        cwd_bytes: length(parts[1]),
        file_bytes: length(parts[2]),
        args_bytes: length(parts[3]),
        ..ExecRecord::default()
    };
    [record.as_bytes(), &parts.concat()].concat()
}

/// The records of processes that the shell starts one after the other, each with a key of its own.
struct Records {
    next: u64,
    cgroup: u64,
    bytes: [Vec<u8>; 3],
}

impl Records {
    fn new(cgroup: u64) -> Self {
        let (parent_ktime, parent_pid) = (SHELL.ktime, SHELL.pid);
        let (forker_ktime, forker_pid) = (parent_ktime, parent_pid);
        let fork = ForkRecord { parent_ktime, parent_pid, forker_ktime, forker_pid, ..ForkRecord::default() };
        let exit = ExitRecord { parent_ktime, parent_pid, ..ExitRecord::default() };
        let bytes = [fork.as_bytes().to_vec(), exec_record(SHELL, SHELL, cgroup), exit.as_bytes().to_vec()];
        Self { next: 0, cgroup, bytes }
    }

    /// Fork, exec and exit of the next process.
    fn advance(&mut self) -> [&[u8]; 3] {
        self.next += 1;
        let pid = 1000 + u32::try_from(self.next % 30_000).expect("small");
        let forked = ExecKey { ktime: 1_000_000 + self.next * 1000, pid };
        let image = ExecKey { ktime: forked.ktime + 1, pid };
        let records = [(RecordKind::Fork, forked), (RecordKind::Exec, image), (RecordKind::Exit, image)];
        for (bytes, (kind, key)) in self.bytes.iter_mut().zip(records) {
            let header = header_of_process(kind, bytes.len(), key, self.cgroup);
            bytes[..size_of::<Record>()].copy_from_slice(header.as_bytes());
        }
        self.bytes.each_ref().map(Vec::as_slice)
    }
}

fn pod(container_id: &str) -> Pod {
    let container = Container {
        name: "till".into(),
        id: format!("containerd://{container_id}"),
        image: "registry.example/till:1.4".into(),
        image_id: format!("registry.example/till@sha256:{container_id}"),
        started_at: "2030-01-02T03:04:05Z".into(),
        ..Container::default()
    };
    Pod {
        uid: POD_UID.into(),
        cgroup_uid: POD_UID.into(),
        namespace: "payments".into(),
        name: "cashier-7f9c-x2".into(),
        labels: [("tier", "back"), ("app", "cashier")].map(|(key, value)| (key.into(), value.into())).into(),
        workload: "cashier".into(),
        workload_kind: "Deployment".into(),
        containers: vec![container],
        ..Pod::default()
    }
}

/// An agent without a kernel: its cgroup tree is a folder, its records are those of `Records`.
struct Agent {
    identity: IdentityService,
    dispatcher: EventDispatcher,
    bus: EventBus,
    /// The cgroup of the pod's container.
    cgroup: u64,
    _folder: tempfile::TempDir,
}

impl Agent {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let container_id = "0123456789abcdef".repeat(4);
        let path: PathBuf = folder.path().join("kubepods").join(format!("pod{POD_UID}")).join(&container_id);
        std::fs::create_dir_all(&path).expect("a folder");
        let cgroup = std::fs::metadata(&path).expect("a folder").ino();
        let facts = Facts { cgroup_root: folder.path().into(), ..Facts::default() };
        let ledger = Ledger::default();
        let identity = IdentityService::new(Arc::new(facts), ledger.clone(), true);
        identity.set_pods(vec![Arc::new(pod(&container_id))]);
        // Scans the cgroup tree.
        identity.pids_in_pod(POD_UID);
        identity.apply_process_records(&[&exec_record(SHELL, ExecKey::default(), cgroup)]);
        let bus = EventBus::new(ledger.clone());
        let dispatcher = EventDispatcher::new(identity.clone(), bus.clone(), ledger);
        let consumer = EventConsumer::new("ObservabilityStack/default".into(), Arc::default());
        dispatcher.set_process_consumers(vec![Arc::new(consumer)]);
        Self { identity, dispatcher, bus, cgroup, _folder: folder }
    }

    /// Takes the records of a process through identity to the bus.
    fn process(&self, records: [&[u8]; 3]) {
        for change in self.identity.apply_process_records(&records) {
            self.dispatcher.on_process_change(&change);
        }
    }
}

fn filters(encoder: &EventEncoder) -> EventFilters {
    let shop = Filter { namespace: vec!["payments".into()], ..Filter::default() };
    let health = Filter { binary_regex: vec!["^/bin/health".into()], ..Filter::default() };
    EventFilters::with_encoder(vec![shop], vec![health], encoder).expect("filters")
}

fn next_event(reader: &mut Subscription) -> Option<Arc<SecurityEvent>> {
    match reader.try_next()? {
        StreamItem::Event(event) => Some(event),
        other => panic!("{other:?}"),
    }
}

pub(super) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one exec");
    group.throughput(Throughput::Elements(1));
    let agent = Agent::new();
    let mut records = Records::new(agent.cgroup);

    group.bench_function("decode fork, exec and exit", |bencher| {
        let records = records.advance();
        let mut pieces = decode::ArgumentPieces::default();
        bencher.iter(|| records.map(|record| decode::process(black_box(record), &mut pieces).expect("a record")));
    });
    group.bench_function("decode and process cache", |bencher| {
        let (mut cache, mut pieces) = (ProcessCache::default(), decode::ArgumentPieces::default());
        bencher.iter(|| {
            for record in records.advance() {
                match decode::process(record, &mut pieces) {
                    Some(decode::ProcessRecord::Fork(fork)) => drop(cache.record_fork(&fork)),
                    Some(decode::ProcessRecord::Exec(image)) => drop(cache.record_exec(*image)),
                    Some(decode::ProcessRecord::Exit(exit)) => drop(cache.record_exit(&exit)),
                    Some(decode::ProcessRecord::Arguments) => {}
                    None => panic!("no record"),
                }
            }
        });
    });
    group.bench_function("decode, cache and deliver, no reader", |bencher| {
        bencher.iter(|| agent.process(records.advance()));
    });

    let boot_time = Arc::new(BootTime::fixed(Timestamp::UNIX_EPOCH));
    let encoder = EventEncoder { node_name: "reef".into(), cluster_name: "".into(), boot_time };
    let filters = Arc::new(filters(&encoder));
    let selects = filters.clone();
    let mut reader = agent.bus.subscribe_to(LossPoint::StreamReader, move |event| selects.pass(event));
    group.bench_function("decode, cache, deliver and filter, one reader", |bencher| {
        bencher.iter(|| {
            agent.process(records.advance());
            [next_event(&mut reader), next_event(&mut reader)]
        });
    });
    agent.process(records.advance());
    let (exec, exit) = (next_event(&mut reader).expect("an exec"), next_event(&mut reader).expect("an exit"));
    assert!(exec.parent.is_some() && exec.process.pod.as_ref().is_some_and(|pod| pod.container.is_some()));
    group.bench_function("filter exec and exit", |bencher| {
        bencher.iter(|| filters.pass(black_box(&exec)) & filters.pass(black_box(&exit)));
    });
    group.bench_function("exec and exit as messages", |bencher| {
        bencher.iter(|| [encoder.message(black_box(&exec)), encoder.message(black_box(&exit))]);
    });
    let messages = [encoder.message(&exec), encoder.message(&exit)];
    let mut buffer = Vec::new();
    group.bench_function("messages as gRPC bytes", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            messages.iter().for_each(|message| message.encode(&mut buffer).expect("room"));
            buffer.len()
        });
    });
    group.bench_function("messages as JSON lines", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            messages.iter().for_each(|message| append_json_line(black_box(message), &mut buffer));
            buffer.len()
        });
    });
    let mut whole = |encode: fn(&GetEventsResponse, &mut Vec<u8>)| {
        agent.process(records.advance());
        buffer.clear();
        while let Some(event) = next_event(&mut reader) {
            encode(&encoder.message(&event), &mut buffer);
        }
        buffer.len()
    };
    group.bench_function("all, from the records to gRPC bytes", |bencher| {
        bencher.iter(|| whole(|message, buffer| message.encode(buffer).expect("room")));
    });
    group.bench_function("all, from the records to JSON lines", |bencher| {
        bencher.iter(|| whole(append_json_line));
    });
    group.finish();
}
