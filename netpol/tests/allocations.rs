//! A connection that no policy selects costs no allocation.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use serde_json::json;
use trilobite_netpol::{Connection, Labels, Peer, Pod, Policy, PolicySet, Protocol, Side};

struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as asked by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as asked by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn connection_without_policies_costs_no_allocation() {
    let policies: Vec<Policy> = (0..100)
        .map(|n| {
            let spec = json!({"podSelector": {"matchLabels": {"app": format!("other-{n}")}}, "policyTypes": ["Ingress", "Egress"]});
            let metadata = json!({"namespace": "shop", "name": format!("p{n}")});
            let policy = json!({"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": spec});
            Policy::from_json(&policy).unwrap()
        })
        .collect();
    let (set, _) = PolicySet::compile(&policies);
    let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
    let pod =
        Pod { namespace: "shop", name: "web", labels: &labels, namespace_labels: &labels, named_ports: &[], node: "n" };
    let (client_ip, server_ip) = ([10, 0, 0, 1].into(), [10, 1, 0, 1].into());
    let (client, server) = (Peer::Pod(pod), Peer::Pod(pod));
    let connection = Connection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port: 80 };
    let before = ALLOCATIONS.with(Cell::get);
    let decision = set.evaluate(&connection);
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    assert_eq!(decision.ingress, Side::default());
    let _counted = decision.explain(&connection);
    assert!(ALLOCATIONS.with(Cell::get) > before);
}
