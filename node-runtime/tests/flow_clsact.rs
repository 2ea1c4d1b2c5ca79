//! Filters of clsact beside those of others, and after an agent that was killed. That flows are counted the same way is shown by the
//! other tests of flows with TRILOBITE_AVOID_ATTACHING_BY=tcx.
//! Needs root: `cargo test -p trilobite-node --test flow_clsact -- --ignored`.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "a filter of others is attached by libbpf itself")]

mod neighbour;
mod node_and_pod;

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
};

use neighbour::ends_the_chain;
use node_and_pod::{NodeAndPod, Watcher};
use tempfile::{TempDir, tempdir};
use trilobite_node::{
    kernel::{
        PacketAttach,
        tc_filter::{create_clsact, remove_clsact},
    },
    layers::network::{
        enrich::Enricher,
        netlink,
        sources::{
            packet_hooks::PacketHooks,
            tcx::{MapSizes, TcxPrograms},
        },
    },
};
use trilobite_node_ebpf::FlowDirection;

const SIZES: MapSizes = MapSizes { flow_entries: 4096, ring_bytes: 65536 };

/// An agent that has just started, and has no interface yet.
fn agent(state: &TempDir) -> Watcher {
    let hooks = PacketHooks::new(PacketAttach::Clsact, Some(state.path()));
    Watcher { programs: TcxPrograms::new(hooks), enricher: Enricher::new(1) }
}

fn watch(watcher: &mut Watcher, link: &NodeAndPod) {
    let problems = watcher.watch(SIZES, &[link.target()], &mut |_| {}).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}

/// The agent ends without a chance to detach.
fn kill(watcher: Watcher) {
    std::mem::forget(watcher);
}

fn has_qdisc(interface: u32) -> bool {
    let is_new = create_clsact(interface).unwrap();
    if is_new {
        remove_clsact(interface).unwrap();
    }
    !is_new
}

fn udp_flows(watcher: &Watcher) -> usize {
    watcher.live().iter().filter(|(tuple, _)| tuple.destination.port() == 9).count()
}

#[test]
#[ignore = "needs root"]
fn filters_of_a_killed_agent_are_removed_by_the_next() {
    let (link, state) = (NodeAndPod::new(), tempdir().unwrap());
    let index = link.target().interface.index;
    let mut killed = agent(&state);
    watch(&mut killed, &link);
    kill(killed);
    assert!(netlink::has_filters(index).unwrap());
    let _next = agent(&state);
    assert!(!netlink::has_filters(index).unwrap() && !has_qdisc(index));
}

#[test]
#[ignore = "needs root"]
fn filters_without_a_list_are_replaced_not_doubled() {
    let (link, state) = (NodeAndPod::new(), tempdir().unwrap());
    let mut killed = agent(&state);
    watch(&mut killed, &link);
    kill(killed);
    fs::remove_file(state.path().join("packet-filters")).unwrap();
    let mut next = agent(&state);
    watch(&mut next, &link);
    link.up();
    link.scatter(0, 3);
    assert_eq!(udp_flows(&next), 3);
    next.stop(&mut |_| {});
    assert!(!netlink::has_filters(link.target().interface.index).unwrap());
}

#[test]
#[ignore = "needs root"]
fn qdisc_goes_with_the_last_filter_if_it_was_made_for_it() {
    let (link, state) = (NodeAndPod::new(), tempdir().unwrap());
    let index = link.target().interface.index;
    for is_others in [false, true] {
        if is_others {
            assert!(create_clsact(index).unwrap());
        }
        let mut watcher = agent(&state);
        watch(&mut watcher, &link);
        assert!(has_qdisc(index));
        watcher.stop(&mut |_| {});
        assert_eq!((has_qdisc(index), netlink::has_filters(index).unwrap()), (is_others, false));
    }
}

#[test]
#[ignore = "needs root"]
fn filter_of_others_that_ends_the_chain_hides_no_packet_and_stays() {
    let (link, state) = (NodeAndPod::new(), tempdir().unwrap());
    let index = link.target().interface.index;
    create_clsact(index).unwrap();
    let neighbour = ends_the_chain();
    for point in [libbpf_sys::BPF_TC_INGRESS, libbpf_sys::BPF_TC_EGRESS] {
        attach_filter(&neighbour, index, point);
    }
    let mut watcher = agent(&state);
    watch(&mut watcher, &link);
    link.up();
    link.tcp(0, true, 1 << 20);
    let seen: Vec<_> = watcher.live().iter().map(|(tuple, _)| tuple.direction).collect();
    assert!(seen.contains(&FlowDirection::In) && seen.contains(&FlowDirection::Out), "{seen:?}");
    watcher.stop(&mut |_| {});
    assert!(netlink::has_filters(index).unwrap());
}

#[test]
#[ignore = "needs root"]
fn filter_that_others_have_removed_is_attached_again() {
    let (link, state) = (NodeAndPod::new(), tempdir().unwrap());
    let index = link.target().interface.index;
    let mut watcher = agent(&state);
    watch(&mut watcher, &link);
    assert!(watcher.deleted().is_empty());
    remove_clsact(index).unwrap();
    assert_eq!(watcher.deleted(), [index]);
    watch(&mut watcher, &link);
    link.up();
    link.scatter(0, 2);
    assert_eq!((watcher.deleted().len(), udp_flows(&watcher)), (0, 2));
}

/// As Cilium attaches its own: priority and handle 1.
fn attach_filter(program: &OwnedFd, interface: u32, attach_point: libbpf_sys::bpf_tc_attach_point) {
    let hook = libbpf_sys::bpf_tc_hook {
        sz: size_of::<libbpf_sys::bpf_tc_hook>() as libbpf_sys::size_t,
        ifindex: interface.cast_signed(),
        attach_point,
        ..Default::default()
    };
    let mut options = libbpf_sys::bpf_tc_opts {
        sz: size_of::<libbpf_sys::bpf_tc_opts>() as libbpf_sys::size_t,
        prog_fd: program.as_raw_fd(),
        handle: 1,
        priority: 1,
        ..Default::default()
    };
    // SAFETY: both structs contain their size and outlive the call; the descriptor is open.
    let answer = unsafe { libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut options) };
    assert_eq!(answer, 0);
}
