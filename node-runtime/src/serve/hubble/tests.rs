//! The services over a real connection in memory.

use std::{sync::Arc, time::Instant};

use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use tonic::{
    Code, Request,
    service::Routes,
    transport::{self, Channel, Server},
};
use trilobite_api::{
    flow::{FlowFilter, LostEventSource, Workload},
    observer::{
        self as api, GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes,
        observer_client::ObserverClient,
    },
    peer::{NotifyRequest, peer_client::PeerClient},
    read_scope::{COMPLETE_SINCE, READ_NAMESPACES},
};

use super::{NodeInfo, services};
use crate::{
    layers::network::{
        endpoint::Endpoint,
        flow::{Flow, samples::syn},
        history::{BYTES, FlowBuffer},
    },
    loss::{Ledger, LossPoint},
    serve::{
        read_rows::{ReadResource, ReadRows},
        router::Services,
        scope::ScopeRule,
    },
};

/// A server with this history, and a client's connection to it.
async fn connected(history: &FlowBuffer, ledger: &Ledger) -> Channel {
    connected_counting(history, ledger, &ReadRows::default()).await
}

async fn connected_counting(history: &FlowBuffer, ledger: &Ledger, rows: &ReadRows) -> Channel {
    let info = NodeInfo {
        node: "n1".into(),
        version: "1.2.3".into(),
        address: "unix:///run/agent.sock".into(),
        started: Instant::now(),
    };
    let (observer, peer) = services(history.clone(), ledger.clone(), info, rows.clone(), Arc::default());
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(ours));
    let services = Services::new(Routes::new(observer).add_service(peer)).routes(ScopeRule::Optional);
    tokio::spawn(Server::builder().add_routes(services).serve_with_incoming(incoming));
    let mut theirs = Some(theirs);
    let connect =
        move |_| std::future::ready(theirs.take().map(TokioIo::new).ok_or_else(|| std::io::Error::other("one")));
    transport::Endpoint::from_static("http://agent").connect_with_connector(tower::service_fn(connect)).await.unwrap()
}

fn numbered(number: u16) -> Flow {
    let mut flow = syn();
    flow.source.set_port(number);
    flow.time = flow.time.checked_add(SignedDuration::from_secs(number.into())).unwrap();
    flow
}

fn filled(capacity: usize, count: u16) -> FlowBuffer {
    let history = FlowBuffer::new(capacity, BYTES);
    (0..count).for_each(|number| history.push(Arc::new(numbered(number))));
    history
}

fn port(response: &GetFlowsResponse) -> Option<u32> {
    let Some(ResponseTypes::Flow(flow)) = &response.response_types else { return None };
    match flow.l4.as_ref()?.protocol.as_ref()? {
        trilobite_api::flow::layer4::Protocol::Tcp(tcp) => Some(tcp.source_port),
        _ => None,
    }
}

async fn ports(history: &FlowBuffer, request: GetFlowsRequest) -> Vec<u32> {
    let mut client = ObserverClient::new(connected(history, &Ledger::default()).await);
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    let mut ports = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        ports.extend(port(&response));
    }
    ports
}

fn odd() -> Vec<FlowFilter> {
    vec![FlowFilter {
        source_port: (0..100).filter(|port| port % 2 == 1).map(|port| port.to_string()).collect(),
        ..FlowFilter::default()
    }]
}

#[tokio::test]
async fn last_flows_match_and_keep_their_order() {
    let history = filled(100, 20);
    assert_eq!(ports(&history, GetFlowsRequest { number: 3, ..Default::default() }).await, [17, 18, 19]);
    assert_eq!(
        ports(&history, GetFlowsRequest { number: 3, whitelist: odd(), ..Default::default() }).await,
        [15, 17, 19]
    );
    let first = GetFlowsRequest { number: 3, first: true, blacklist: odd(), ..Default::default() };
    assert_eq!(ports(&history, first).await, [0, 2, 4]);
    assert_eq!(ports(&history, GetFlowsRequest { number: u64::MAX, ..Default::default() }).await.len(), 20);
}

#[tokio::test]
async fn since_and_until_limit_the_time() {
    let history = filled(100, 20);
    let at = |number| Some(crate::serve::timestamps::timestamp(numbered(number).time));
    let between = GetFlowsRequest { since: at(5), until: at(8), ..Default::default() };
    assert_eq!(ports(&history, between).await, [5, 6, 7, 8]);
    assert_eq!(ports(&history, GetFlowsRequest { since: at(5), number: 2, ..Default::default() }).await, [5, 6]);
}

#[tokio::test]
async fn slow_request_hides_no_flow_of_the_time_that_is_asked_for() {
    let history = filled(100, 10);
    let at = |number| Some(crate::serve::timestamps::timestamp(numbered(number).time));
    // It began before all others, and comes when it is answered.
    let mut slow = numbered(50);
    slow.time = numbered(2).time;
    history.push(Arc::new(slow));
    history.push(Arc::new(numbered(11)));
    let since = GetFlowsRequest { since: at(8), ..Default::default() };
    assert_eq!(ports(&history, since).await, [8, 9, 11]);
    let between = GetFlowsRequest { since: at(1), until: at(3), ..Default::default() };
    assert_eq!(ports(&history, between).await, [1, 2, 3, 50]);
}

#[tokio::test]
async fn requests_that_became_no_flow_are_lost_in_a_queue() {
    let history = filled(100, 3);
    history.add_lost_in_queue(5);
    let mut client = ObserverClient::new(connected(&history, &Ledger::default()).await);
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    history.add_lost_in_queue(2);
    let message = stream.message().await.unwrap().unwrap();
    let Some(ResponseTypes::LostEvents(lost)) = message.response_types else { panic!("{message:?}") };
    assert_eq!((lost.source(), lost.num_events_lost), (LostEventSource::ObserverEventsQueue, 2));
}

#[tokio::test]
async fn follow_sends_new_flows_until_the_agent_ends() {
    let history = filled(100, 3);
    let mut client = ObserverClient::new(connected(&history, &Ledger::default()).await);
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    history.push(Arc::new(numbered(77)));
    assert_eq!(port(&stream.message().await.unwrap().unwrap()), Some(77));
    history.close();
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn slow_client_gets_a_loss_report_and_the_ledger_counts() {
    let (history, ledger) = (filled(1000, 0), Ledger::default());
    let mut client = ObserverClient::new(connected(&history, &ledger).await);
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    // More than the connection and the history hold, before the stream reads once.
    (0..20_000).for_each(|number| history.push(Arc::new(numbered(number))));
    history.close();
    let (mut got, mut lost) = (0, 0);
    while let Some(response) = stream.message().await.unwrap() {
        match response.response_types {
            Some(ResponseTypes::LostEvents(event)) => lost += event.num_events_lost,
            _ => got += 1,
        }
    }
    assert_eq!((got + lost, ledger.total_at(LossPoint::StreamReader)), (20_000, lost));
    assert!(lost > 10_000);
}

#[tokio::test]
async fn kernel_losses_ignore_filters_and_come_once_a_second() {
    let history = filled(100, 3);
    history.set_lost(1000);
    let mut client = ObserverClient::new(connected(&history, &Ledger::default()).await);
    let no_pod = FlowFilter { source_pod: vec!["no/body".into()], ..FlowFilter::default() };
    let field_mask = Some(prost_types::FieldMask { paths: vec!["time".into()] });
    let request = GetFlowsRequest { follow: true, whitelist: vec![no_pod], field_mask, ..Default::default() };
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    for total in [1002, 1003, 1007] {
        history.set_lost(total);
    }
    let mut lost = Vec::new();
    let began = Instant::now();
    while lost.iter().sum::<u64>() < 7 {
        let Some(ResponseTypes::LostEvents(event)) = stream.message().await.unwrap().unwrap().response_types else {
            panic!("not a loss")
        };
        assert_eq!(event.source, LostEventSource::PerfEventRingBuffer as i32);
        lost.push(event.num_events_lost);
    }
    assert!(lost.iter().sum::<u64>() == 7 && (lost.len() == 1 || began.elapsed().as_millis() > 900), "{lost:?}");
}

#[tokio::test]
async fn unsupported_methods_and_filters_are_refused_by_name() {
    let history = filled(10, 1);
    let mut client = ObserverClient::new(connected(&history, &Ledger::default()).await);
    let events = client.get_agent_events(api::GetAgentEventsRequest::default()).await.unwrap_err();
    assert_eq!((events.code(), events.message().contains("GetAgentEvents")), (Code::Unimplemented, true));
    let events = client.get_debug_events(api::GetDebugEventsRequest::default()).await.unwrap_err();
    assert_eq!((events.code(), events.message().contains("GetDebugEvents")), (Code::Unimplemented, true));
    let both = client.get_flows(GetFlowsRequest { first: true, follow: true, ..Default::default() }).await.unwrap_err();
    assert_eq!(both.code(), Code::InvalidArgument);
    let by_label = FlowFilter { node_labels: vec!["zone=a".into()], ..FlowFilter::default() };
    let request = GetFlowsRequest { whitelist: vec![by_label], ..Default::default() };
    let refused = client.get_flows(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("node_labels")), (Code::InvalidArgument, true));
}

#[tokio::test]
async fn status_nodes_and_peers_describe_the_node() {
    let history = filled(10, 12);
    let channel = connected(&history, &Ledger::default()).await;
    let mut client = ObserverClient::new(channel.clone());
    let status = client.server_status(api::ServerStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (10, 10, 12));
    let nodes = client.get_nodes(api::GetNodesRequest::default()).await.unwrap().into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].name.as_str(), nodes[0].state), (1, "n1", 1));
    let mut peers = PeerClient::new(channel).notify(NotifyRequest::default()).await.unwrap().into_inner();
    let here = peers.message().await.unwrap().unwrap();
    assert_eq!((here.name.as_str(), here.r#type), ("n1", 1));
}

/// A call that may read these namespaces.
fn scoped<T>(message: T, namespaces: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(READ_NAMESPACES, namespaces.parse().unwrap());
    request
}

/// Ten flows from shop to store, and five from reef to reef, all of this minute.
fn two_tenants() -> FlowBuffer {
    let history = FlowBuffer::new(100, BYTES);
    let reef = Arc::new(Endpoint { namespace: "reef".into(), pod: "coral".into(), ..Endpoint::default() });
    for number in 0..15 {
        let mut flow = Flow { time: jiff::Timestamp::now(), ..numbered(number) };
        if number >= 10 {
            (flow.source_endpoint, flow.destination_endpoint) = (reef.clone(), reef.clone());
            flow.destination_service = None;
        }
        history.push(Arc::new(flow));
    }
    history
}

#[tokio::test]
async fn flows_of_another_namespace_are_withheld_and_counted() {
    let (history, rows) = (two_tenants(), ReadRows::default());
    let mut client = ObserverClient::new(connected_counting(&history, &Ledger::default(), &rows).await);
    let mut ports_of = async |namespaces| {
        let all = GetFlowsRequest { first: true, ..Default::default() };
        let mut stream = client.get_flows(scoped(all, namespaces)).await.unwrap().into_inner();
        let mut ports = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            ports.extend(port(&response));
        }
        ports
    };
    assert_eq!(ports_of("reef").await, [10, 11, 12, 13, 14]);
    assert_eq!(rows.counts(ReadResource::Flows), (5, 10));
    assert_eq!(ports_of("store").await, (0..10).collect::<Vec<_>>());
    assert_eq!(rows.counts(ReadResource::Flows), (15, 15));
    assert_eq!(ports_of("*").await.len(), 15);
    assert_eq!(ports_of("fossils").await, [0; 0]);
}

#[tokio::test]
async fn last_flows_are_the_last_of_the_scope() {
    let mut client = ObserverClient::new(connected(&two_tenants(), &Ledger::default()).await);
    let last = GetFlowsRequest { number: 2, ..Default::default() };
    let mut stream = client.get_flows(scoped(last, "shop")).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(port(&first), Some(8));
}

#[tokio::test]
async fn filter_cannot_ask_for_what_is_withheld() {
    let mut client = ObserverClient::new(connected(&two_tenants(), &Ledger::default()).await);
    let mut count = async |filter: FlowFilter, namespaces| {
        let request = GetFlowsRequest { first: true, whitelist: vec![filter], ..Default::default() };
        let mut stream = client.get_flows(scoped(request, namespaces)).await.unwrap().into_inner();
        let mut count = 0;
        while stream.message().await.unwrap().is_some() {
            count += 1;
        }
        count
    };
    let by_label = FlowFilter { destination_label: vec!["app=cart".into()], ..FlowFilter::default() };
    let by_workload = FlowFilter {
        destination_workload: vec![Workload { name: "cart".into(), ..Workload::default() }],
        ..FlowFilter::default()
    };
    let by_service = FlowFilter { destination_service: vec!["store/cart".into()], ..FlowFilter::default() };
    for filter in [by_label, by_workload, by_service] {
        assert_eq!(count(filter.clone(), "store").await, 10, "{filter:?}");
        assert_eq!(count(filter.clone(), "shop").await, 0, "{filter:?}");
    }
    // The name is what the other end shows.
    let by_pod = FlowFilter { destination_pod: vec!["store/cart-1".into()], ..FlowFilter::default() };
    assert_eq!(count(by_pod, "shop").await, 10);
}

#[tokio::test]
async fn status_nodes_and_namespaces_say_nothing_of_others() {
    let channel = connected(&two_tenants(), &Ledger::default()).await;
    let mut client = ObserverClient::new(channel.clone());
    let status = client.server_status(scoped(api::ServerStatusRequest {}, "reef")).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.seen_flows), (5, 5));
    let nodes = client.get_nodes(scoped(api::GetNodesRequest {}, "reef")).await.unwrap().into_inner().nodes;
    assert_eq!((nodes[0].num_flows, nodes[0].seen_flows), (5, 5));
    let mut namespaces = async |scope| {
        let answer = client.get_namespaces(scoped(api::GetNamespacesRequest {}, scope)).await.unwrap().into_inner();
        answer.namespaces.into_iter().map(|one| one.namespace).collect::<Vec<_>>()
    };
    assert_eq!(namespaces("reef").await, ["reef"]);
    assert_eq!(namespaces("reef,store").await, ["reef", "store"]);
    assert_eq!(namespaces("*").await, ["reef", "shop", "store"]);
    let refused = client.get_agent_events(scoped(api::GetAgentEventsRequest::default(), "reef")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let mut peers = PeerClient::new(channel).notify(scoped(NotifyRequest {}, "reef")).await.unwrap().into_inner();
    assert_eq!(peers.message().await.unwrap().unwrap().name, "n1");
}

#[tokio::test]
async fn answer_says_since_when_every_flow_is_kept() {
    let history = filled(10, 0);
    let mut client = ObserverClient::new(connected(&history, &Ledger::default()).await);
    let mut since = async || {
        let response = client.get_flows(GetFlowsRequest::default()).await.unwrap();
        response.metadata().get(COMPLETE_SINCE).map(|value| value.to_str().unwrap().parse::<i128>().unwrap())
    };
    assert_eq!(since().await, None);
    history.revive();
    assert_eq!(since().await, history.complete_since().map(jiff::Timestamp::as_nanosecond));
}
