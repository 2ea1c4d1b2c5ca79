//! Other programs on the same interface, e.g. a CNI's, may end the chain: flows are seen all the same.
//! Needs root and a kernel from 6.6 on: `cargo test -p trilobite-node --test flow_neighbours -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code, reason = "a program of a few words is loaded without an object")]

mod neighbour;
mod node_and_pod;

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use neighbour::ends_the_chain;
use node_and_pod::NodeAndPod;
use trilobite_node::layers::network::sources::tcx::MapSizes;
use trilobite_node_ebpf::FlowDirection;

/// Attaches it until the descriptor is dropped.
fn attached(program: &OwnedFd, interface: u32, point: libbpf_sys::bpf_attach_type) -> OwnedFd {
    // SAFETY: the descriptor is open; an interface stands where a descriptor would; no options.
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), interface.cast_signed(), point, ptr::null()) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: as above.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[test]
#[ignore = "needs root"]
fn earlier_program_that_ends_the_chain_hides_no_packet() {
    let link = NodeAndPod::new();
    let interface = link.target().interface.index;
    let neighbour = ends_the_chain();
    let _links =
        [libbpf_sys::BPF_TCX_INGRESS, libbpf_sys::BPF_TCX_EGRESS].map(|point| attached(&neighbour, interface, point));
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    link.tcp(0, true, 1 << 20);
    link.udp(1, &[100, 200]);
    link.down();
    watcher.drain(&mut |_| {});
    let (sums, counted) = (watcher.sums(), link.counted());
    println!("{counted:?}\n{sums:#?}");
    let of = |direction| {
        let sum = sums.get(&(interface, direction)).map(|sum| sum.all()).unwrap_or_default();
        (sum.packets, sum.bytes)
    };
    assert!(counted.rx.0 > 10 && counted.tx.0 > 10);
    assert_eq!((of(FlowDirection::In), of(FlowDirection::Out)), (counted.rx, counted.tx));
}
