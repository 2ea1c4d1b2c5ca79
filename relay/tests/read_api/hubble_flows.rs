//! Flows of the past, and what the relay says of its nodes, as `hubble` asks for them.

use std::{
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use trilobite_api::{
    observer::{GetAgentEventsRequest, GetFlowsRequest, GetNamespacesRequest, GetNodesRequest, ServerStatusRequest},
    relay::NodeState,
};

use crate::{
    fixture::{Relay, flow},
    hubble_client::{HubbleClient, Said},
};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// A flow of each second in turn.
async fn with_flows(seconds: std::ops::RangeInclusive<u64>) -> (Relay, HubbleClient) {
    let relay = Relay::start().await;
    for second in seconds {
        let (node, agent) = if second % 2 == 0 { ("alder", &relay.alder) } else { ("birch", &relay.birch) };
        agent.state.flows.lock().push(flow(node, "shop", "cart-7", second * SECOND));
    }
    let client = HubbleClient::by_port_forward(&relay).await;
    (relay, client)
}

pub(crate) fn connected(nodes: &[&str]) -> Said {
    Said::Nodes(NodeState::NodeConnected, nodes.iter().map(|node| (*node).to_owned()).collect())
}

/// The flows of these seconds, after the status of both nodes.
fn both_nodes_and(seconds: impl IntoIterator<Item = u64>) -> Vec<Said> {
    let name = |second: u64| format!("{}-{second}-0", if second.is_multiple_of(2) { "alder" } else { "birch" });
    let flows = seconds.into_iter().map(|second| Said::Flow(name(second)));
    std::iter::once(connected(&["alder", "birch"])).chain(flows).collect()
}

fn number(number: u64) -> GetFlowsRequest {
    GetFlowsRequest { number, ..GetFlowsRequest::default() }
}

#[tokio::test]
async fn last_is_counted_over_all_nodes_together() {
    let (relay, client) = with_flows(1..=500).await;
    for last in [1, 7, 20, 499, 500, 700] {
        let from = 501 - last.min(500);
        assert_eq!(client.all(number(last)).await, both_nodes_and(from..=500), "--last {last}");
    }
    assert_eq!(client.all(number(u64::MAX)).await.len(), 501, "--all");
    relay.alder.state.flows.lock().clear();
    assert_eq!(client.all(number(3)).await, both_nodes_and([495, 497, 499]), "all of them of one node");
}

#[tokio::test]
async fn flows_that_come_while_they_are_counted_are_none_of_the_last() {
    let (relay, client) = with_flows(1..=10).await;
    // The second question finds two more.
    let state = relay.alder.state.clone();
    let adding = tokio::spawn(async move {
        while state.flow_requests.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        state.flows.lock().extend([12, 14].map(|second| flow("alder", "shop", "cart-7", second * SECOND)));
    });
    assert_eq!(client.all(number(4)).await, both_nodes_and(7..=10));
    adding.await.unwrap();
}

#[tokio::test]
async fn first_and_since_end_by_number() {
    let (_relay, client) = with_flows(1..=30).await;
    let first = GetFlowsRequest { first: true, ..number(5) };
    assert_eq!(client.all(first).await, both_nodes_and(1..=5));
    let since = Some(prost_types::Timestamp { seconds: 20, nanos: 0 });
    assert_eq!(client.all(GetFlowsRequest { since, ..number(4) }).await, both_nodes_and(20..=23));
    let both = GetFlowsRequest { first: true, follow: true, ..number(5) };
    assert_eq!(client.flows(both).await.err().unwrap().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn client_that_stops_reading_a_past_loses_nothing() {
    let relay = Relay::start().await;
    let flows = (0..20_000).map(|number| flow("alder", "shop", "cart-7", SECOND + number));
    relay.alder.state.flows.lock().extend(flows);
    let client = HubbleClient::by_port_forward(&relay).await;
    let mut stopped = client.flows(GetFlowsRequest::default()).await.unwrap();
    stopped.expect(connected(&["alder", "birch"])).await;
    // Others are served meanwhile.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.all(number(2)).await.len(), 3);
    let mut read = 0;
    while let Some(Said::Flow(_)) = stopped.next().await.unwrap() {
        read += 1;
    }
    assert_eq!((read, relay.budget.used()), (20_000, 0));
}

#[tokio::test]
async fn filters_reach_the_agents_and_their_refusal_the_client() {
    let (relay, client) = with_flows(1..=2).await;
    let whitelist = vec![trilobite_api::flow::FlowFilter { source_pod: vec!["shop/".into()], ..Default::default() }];
    client.all(GetFlowsRequest { whitelist: whitelist.clone(), ..number(20) }).await;
    for agent in [&relay.alder, &relay.birch] {
        assert!(agent.state.flow_requests.lock().iter().all(|request| request.whitelist == whitelist));
        assert!(agent.state.calls.lock().iter().all(|(scope, _)| scope == "*"), "a port-forward reads everything");
    }
    relay.alder.state.refusal.lock().replace(Status::invalid_argument("no such filter"));
    relay.birch.state.refusal.lock().replace(Status::invalid_argument("no such filter"));
    for follow in [false, true] {
        let refused = client.flows(GetFlowsRequest { follow, ..number(20) }).await.err().unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "no such filter"));
    }
}

#[tokio::test]
async fn node_that_does_not_answer_is_named_and_the_others_are_read() {
    let (relay, client) = with_flows(1..=4).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut addresses = (**relay.addresses.borrow()).clone();
    addresses.insert("cedar".into(), closed);
    relay.addresses.send_replace(addresses.into());
    for request in [number(2), GetFlowsRequest { first: true, ..number(2) }] {
        let said = client.all(request).await;
        let away = Said::Nodes(NodeState::NodeUnavailable, vec!["cedar".into()]);
        assert_eq!((&said[0], &said[1], said.len()), (&connected(&["alder", "birch"]), &away, 4));
    }
    let mut observer = client.observer();
    let status = observer.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows), (4, 8190));
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(1)));
    assert_eq!(status.unavailable_nodes, ["cedar"]);
    let nodes = observer.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let states: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.state(), node.version.as_str())).collect();
    assert_eq!(
        states,
        [
            ("alder", NodeState::NodeConnected, "9.8.7"),
            ("birch", NodeState::NodeConnected, "9.8.7"),
            ("cedar", NodeState::NodeUnavailable, ""),
        ]
    );
    assert_eq!(nodes[2].address, closed.to_string());
    assert_eq!(nodes[0].tls.as_ref().unwrap().server_name, "alder.trilobite-node.reef.svc");
}

#[tokio::test]
async fn namespaces_health_and_what_is_not_served() {
    let (relay, client) = with_flows(1..=2).await;
    let mut observer = client.observer();
    let namespaces = observer.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(namespaces.iter().map(|one| one.namespace.as_str()).collect::<Vec<_>>(), ["bank", "shop"]);
    let refused = observer.get_agent_events(GetAgentEventsRequest::default()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unimplemented, "observer.Observer/GetAgentEvents is not served by this relay")
    );
    let stranger = HubbleClient::by_tls(&relay, None);
    for client in [&client, &stranger] {
        let health = async |service: &str| {
            let request = HealthCheckRequest { service: service.into() };
            HealthClient::new(client.channel.clone()).check(request).await.unwrap().into_inner().status()
        };
        assert_eq!(health("hubble.server.Observer").await, ServingStatus::Serving);
        assert_eq!(health("").await, ServingStatus::Serving);
    }
}

#[tokio::test]
async fn nothing_but_the_loopback_is_served_without_tls() {
    let relay = Relay::start().await;
    // The address of this machine towards others, if it has one.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(()) = socket.connect("192.0.2.1:9") else { return };
    let outside = socket.local_addr().unwrap().ip();
    let endpoint = format!("http://{outside}:{}", relay.hubble.port());
    let connected = tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect().await;
    let answered = match connected {
        Err(_) => return,
        Ok(channel) => HealthClient::new(channel).check(HealthCheckRequest::default()).await,
    };
    assert!(answered.is_err(), "{answered:?}");
}
