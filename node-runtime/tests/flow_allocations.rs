//! What one flow costs in allocations, from the kernel's record to the flow that subscribers share.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use trilobite_node::{
    identity::Pod,
    layers::network::{
        decode,
        directory::{DirectoryTable, NodePod},
        enrich::{Enricher, WatchTarget},
        flow::Interface,
    },
};
use trilobite_node_ebpf::{FlowDirection, FlowKey, FlowReason, FlowRecord, RECORD_LAYOUT, Record, RecordKind};
use zerocopy::IntoBytes;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; the counter is a thread's own and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record(reason: FlowReason, packets: u64) -> FlowRecord {
    let address = |last| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[10, 0, 0, last]);
        bytes
    };
    FlowRecord {
        header: Record { layout: RECORD_LAYOUT, kind: RecordKind::Flow as u16, ..Record::default() },
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
        reason: reason as u8,
        flags: 2,
        packets,
        bytes: packets * 100,
        ..FlowRecord::default()
    }
}

fn pod(name: &str, address: &str) -> Pod {
    Pod {
        uid: name.into(),
        name: name.into(),
        namespace: "shop".into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        ips: vec![address.parse().unwrap()],
        ..Pod::default()
    }
}

#[test]
fn flow_of_a_known_connection_is_one_allocation() {
    const RECORDS: u64 = 1_000;
    let table = DirectoryTable::new("n1");
    let (till, shelf) = (pod("till", "10.0.0.1"), pod("shelf", "10.0.0.2"));
    for pod in [&till, &shelf] {
        table.put_pod(&NodePod { pod: pod.clone(), ..NodePod::default() });
    }
    let mut enricher = Enricher::new(1);
    enricher.directories.push(Arc::new(table));
    let interface = Interface { index: 12, name: "veth0".into() };
    enricher.watch(&WatchTarget { interface, pod: Some(Arc::new(till)), behind: true });
    let mut share = |record: &FlowRecord| {
        let observation = decode::decode(record.as_bytes()).unwrap();
        Arc::new(enricher.flow(&observation, 0))
    };
    let first = share(&record(FlowReason::New, 1));
    assert_eq!((first.source_endpoint.pod.as_str(), first.destination_endpoint.pod.as_str()), ("till", "shelf"));
    let before = ALLOCATIONS.get();
    for packets in 2..2 + RECORDS {
        let flow = share(&record(FlowReason::Active, packets));
        assert_eq!(flow.forwarded().unwrap().since.packets, 1);
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(allocations <= RECORDS, "{allocations} allocations for {RECORDS} flows");
}
