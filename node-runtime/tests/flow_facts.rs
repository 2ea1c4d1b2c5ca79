//! What is said of a flow beside its counters: which end is the client, and how it was answered.
//! Needs root and a kernel from 6.6 on: `cargo test -p trilobite-node --test flow_facts -- --ignored`.

#![allow(clippy::unwrap_used)]

mod node_and_pod;

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use node_and_pod::{NODE, NodeAndPod, POD, Watcher, counts};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use trilobite_node::{
    identity::Pod,
    layers::network::{
        connection::sockets::SocketTable, decode::Transport, enrich::WatchTarget, flow::Flow, sources::tcx::MapSizes,
    },
};
use trilobite_node_ebpf::FlowReason;

const SIZES: MapSizes = MapSizes { flow_entries: 4096, ring_bytes: 65536 };

/// Watches the pod's interface from now on, and reads its sockets as the layer does.
fn watch_pod(link: &NodeAndPod) -> Watcher {
    let pod = Pod { uid: "p".into(), ips: POD.map(|address| address.parse().unwrap()).to_vec(), ..Pod::default() };
    let target = WatchTarget { pod: Some(Arc::new(pod)), ..link.target() };
    let index = target.interface.index;
    let mut watcher = Watcher::new();
    assert!(watcher.watch(SIZES, &[target], &mut |_| {}).unwrap().is_empty());
    let sockets = link.in_pod(|| SocketTable::read(Path::new("/proc/thread-self/net")).unwrap());
    assert!(watcher.enricher.needs_sockets(index));
    watcher.enricher.set_sockets(index, Some(sockets));
    watcher
}

fn drained(watcher: &mut Watcher, transport: Transport) -> Vec<Flow> {
    let mut flows = Vec::new();
    watcher.drain(&mut |flow| flows.extend((flow.l4 == transport.into()).then_some(flow)));
    flows
}

#[test]
#[ignore = "needs root"]
fn server_of_an_older_connection_is_the_end_that_listens() {
    let link = NodeAndPod::new();
    link.up();
    // By its port the pod would be the client.
    let listener = link.in_pod(|| TcpListener::bind((POD[0], 60000)).unwrap());
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(NODE[0].parse().unwrap(), 40123)).unwrap();
    connect(&socket, &listener.local_addr().unwrap()).unwrap();
    let (mut client, mut server) = (TcpStream::from(socket), listener.accept().unwrap().0);
    let mut watcher = watch_pod(&link);
    server.write_all(b"a push").unwrap();
    client.write_all(b"a question").unwrap();
    thread::sleep(Duration::from_millis(50));
    let flows = drained(&mut watcher, Transport::Tcp);
    assert!(flows.len() >= 2, "{flows:?}");
    for flow in flows {
        assert_eq!((flow.is_reply, flow.is_direction_a_guess), (Some(flow.source.port() == 60000), false), "{flow:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn connected_datagram_socket_is_the_client_of_an_older_exchange() {
    let link = NodeAndPod::new();
    link.up();
    let server = UdpSocket::bind((NODE[0], 40123)).unwrap();
    let client = link.in_pod(|| {
        let client = UdpSocket::bind((POD[0], 50055)).unwrap();
        client.connect((NODE[0], 40123)).unwrap();
        client
    });
    let mut watcher = watch_pod(&link);
    server.send_to(b"a late answer", client.local_addr().unwrap()).unwrap();
    let flows = drained(&mut watcher, Transport::Udp);
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].is_reply, flows[0].is_direction_a_guess), (Some(true), false), "{flows:?}");
}

#[test]
#[ignore = "needs root"]
fn closed_port_is_told_on_the_flow_that_it_refused() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(SIZES);
    for family in [0, 1] {
        let closed = SocketAddr::new(POD[family].parse().unwrap(), 9);
        let socket = UdpSocket::bind((NODE[family], 0)).unwrap();
        socket.send_to(b"is anybody there", closed).unwrap();
        thread::sleep(Duration::from_millis(50));
        let flows = drained(&mut watcher, Transport::Udp);
        let told: Vec<_> = flows.iter().filter(|flow| flow.destination == closed).collect();
        assert_eq!(
            told.iter().map(|flow| counts(flow).reason).collect::<Vec<_>>(),
            [FlowReason::New, FlowReason::Error]
        );
        assert_eq!(told[1].summary(), "UDP refused: port unreachable");
        assert_eq!(
            (counts(told[1]).total.packets, counts(told[1]).since.packets, told[1].is_reply),
            (1, 0, Some(false))
        );
    }
}
