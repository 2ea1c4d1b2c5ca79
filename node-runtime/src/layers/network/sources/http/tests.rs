//! Both flows of an exchange, with a directory that is filled by hand.

use super::*;
use crate::layers::{
    application::requests::rows::tests::row,
    network::{
        directory::{DirectoryTable, NodePod},
        enrich::{Enricher, WatchTarget},
        flow::{Flow, Interface},
    },
};

fn pod(name: &str, ip: &str) -> Pod {
    Pod {
        uid: name.into(),
        name: name.into(),
        namespace: "shop".into(),
        ips: vec![ip.parse().unwrap()],
        ..Pod::default()
    }
}

/// `cart` of this node, and `till` of another.
fn enricher() -> Enricher {
    let table = DirectoryTable::new("n1");
    for pod in [pod("cart", "10.0.0.7"), pod("till", "10.0.1.9")] {
        table.put_pod(&NodePod { pod, ..NodePod::default() });
    }
    let mut enricher = Enricher::new(1);
    enricher.directories.push(Arc::new(table));
    let interface = Interface { index: 12, name: "veth0".into() };
    enricher.watch(&WatchTarget { interface, pod: Some(Arc::new(pod("cart", "10.0.0.7"))), behind: true });
    enricher
}

fn flows(row: &RequestRow, pod: Option<Pod>) -> Vec<Flow> {
    let HttpMessage::Exchange(exchange) = HttpMessage::from_row(row, pod.map(Arc::new)) else { panic!("no exchange") };
    let mut flows = Vec::new();
    exchange.emit(&mut FlowSink { enricher: &mut enricher(), emit: &mut |flow| flows.push(flow) }, 1_000_000_000_000);
    flows
}

fn ends(flow: &Flow) -> (String, String) {
    let end = |address: SocketAddr, endpoint: &Endpoint| format!("{}/{address}", endpoint.pod);
    (end(flow.source, &flow.source_endpoint), end(flow.destination, &flow.destination_endpoint))
}

#[test]
fn server_sees_the_request_come_and_the_response_go() {
    let flows = flows(&row(1, 5_000), Some(pod("cart", "10.0.0.7")));
    let [request, response] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!(ends(request), ("till/10.0.1.9:41000".into(), "cart/10.0.0.7:8080".into()));
    assert_eq!(ends(response), ("cart/10.0.0.7:8080".into(), "till/10.0.1.9:41000".into()));
    for (flow, is_reply, latency) in [(request, false, 0), (response, true, 12_000_000)] {
        assert_eq!(
            (flow.is_reply, flow.direction, flow.connection),
            (Some(is_reply), TrafficDirection::Ingress, 0x00c0_ffee)
        );
        assert_eq!((flow.l7().unwrap().is_response(), flow.l7().unwrap().latency_ns), (is_reply, latency));
    }
    assert_eq!(response.time.duration_since(request.time).as_millis(), 12);
    assert_ne!(request.uuid, response.uuid);
    assert_eq!((request.summary(), response.summary()), ("HTTP GET /cart".into(), "HTTP 200 12ms (GET /cart)".into()));
}

#[test]
fn client_sends_the_request_and_has_its_pods_endpoint() {
    let row = RequestRow { client: true, ..row(1, 5_000) };
    let flows = flows(&row, Some(pod("cart", "10.0.0.7")));
    assert_eq!(ends(&flows[0]), ("cart/10.0.0.7:8080".into(), "till/10.0.1.9:41000".into()));
    assert!(flows.iter().all(|flow| flow.direction == TrafficDirection::Egress));
}

#[test]
fn pod_is_named_by_its_process_not_by_its_address() {
    // In the host's network.
    let on_host = Pod { host_network: true, ..pod("proxy", "192.0.2.1") };
    let node: SocketAddr = ([192, 0, 2, 1], 80).into();
    let asked = flows(&RequestRow { local: Some(node), ..row(1, 7) }, Some(on_host));
    assert_eq!(ends(&asked[0]), ("till/10.0.1.9:41000".into(), "proxy/192.0.2.1:80".into()));
    // Inside of the pod.
    let inside = |port| Some(([127, 0, 0, 1], port).into());
    let own =
        flows(&RequestRow { local: inside(80), remote: inside(5000), ..row(1, 7) }, Some(pod("cart", "10.0.0.7")));
    assert_eq!(ends(&own[0]), ("cart/127.0.0.1:5000".into(), "cart/127.0.0.1:80".into()));
}

#[test]
fn address_of_an_ipv6_socket_is_in_its_usual_form() {
    let row = RequestRow { remote: Some("[::ffff:10.0.1.9]:41000".parse().unwrap()), ..row(1, 7) };
    assert_eq!(ends(&flows(&row, None)[0]).0, "till/10.0.1.9:41000");
}

#[test]
fn exchange_without_addresses_becomes_no_flow() {
    for row in [RequestRow { local: None, ..row(1, 7) }, RequestRow { remote: None, ..row(1, 7) }] {
        assert_eq!(HttpMessage::from_row(&row, None), HttpMessage::WithoutAddress(1));
    }
}
