//! Flows as they happen, while nodes come, break and go.

use std::{sync::Arc, time::Duration};

use trilobite_api::{observer::GetFlowsRequest, relay::NodeState};

use crate::{
    fake_agent::FakeAgent,
    fixture::{Relay, flow},
    hubble_client::{Flows, HubbleClient, Said},
    hubble_flows::{SECOND, connected},
    watches::until,
};

fn follow() -> GetFlowsRequest {
    GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }
}

fn named(name: &str) -> Said {
    Said::Flow(name.to_owned())
}

/// Follows both nodes, which are read.
async fn following(relay: &Relay) -> (HubbleClient, Flows) {
    let client = HubbleClient::by_port_forward(relay).await;
    let mut flows = client.flows(follow()).await.unwrap();
    flows.expect(connected(&["alder", "birch"])).await;
    for agent in [&relay.alder, &relay.birch] {
        until("the node is read", || agent.state.new_flows.receiver_count() == 1).await;
    }
    (client, flows)
}

fn happen(agent: &FakeAgent, node: &str, second: u64) {
    agent.state.new_flows.send(flow(node, "shop", "cart-7", second * SECOND)).unwrap();
}

#[tokio::test]
async fn flows_of_both_nodes_come_in_the_order_of_time() {
    let relay = Relay::start().await;
    let (_client, mut flows) = following(&relay).await;
    happen(&relay.alder, "alder", 4);
    happen(&relay.birch, "birch", 3);
    happen(&relay.birch, "birch", 5);
    for name in ["birch-3-0", "alder-4-0", "birch-5-0"] {
        flows.expect(named(name)).await;
    }
    assert_eq!(relay.rows("flows", "received"), 3);
    assert_eq!(relay.metrics.watchers.get(), 1);
}

#[tokio::test]
async fn last_of_all_nodes_come_before_new_flows() {
    let relay = Relay::start().await;
    relay.alder.state.flows.lock().extend([1, 3, 5].map(|second| flow("alder", "shop", "cart-7", second * SECOND)));
    relay.birch.state.flows.lock().extend([2, 4].map(|second| flow("birch", "shop", "cart-7", second * SECOND)));
    let client = HubbleClient::by_port_forward(&relay).await;
    let mut flows = client.flows(GetFlowsRequest { number: 3, ..follow() }).await.unwrap();
    flows.expect(connected(&["alder", "birch"])).await;
    for name in ["alder-3-0", "birch-4-0", "alder-5-0"] {
        flows.expect(named(name)).await;
    }
    until("the node is read", || relay.alder.state.new_flows.receiver_count() == 1).await;
    happen(&relay.alder, "alder", 7);
    flows.expect(named("alder-7-0")).await;
}

#[tokio::test]
async fn broken_stream_is_reported_and_goes_on_where_it_broke() {
    let relay = Relay::start().await;
    let (_client, mut flows) = following(&relay).await;
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    happen(&relay.alder, "alder", now + 7);
    flows.expect(named(&format!("alder-{}-0", now + 7))).await;
    relay.alder.state.breaks.send(()).unwrap();
    flows.expect(Said::Nodes(NodeState::NodeUnavailable, vec!["alder".into()])).await;
    // While it is away, this happens.
    relay
        .alder
        .state
        .flows
        .lock()
        .extend([7, 8].map(|second| flow("alder", "shop", "cart-7", (now + second) * SECOND)));
    flows.expect(connected(&["alder"])).await;
    flows.expect(named(&format!("alder-{}-0", now + 8))).await;
    happen(&relay.birch, "birch", now + 9);
    flows.expect(named(&format!("birch-{}-0", now + 9))).await;
}

#[tokio::test]
async fn nodes_come_and_go_in_an_open_stream() {
    let relay = Relay::start().await;
    let (_client, mut flows) = following(&relay).await;
    let cedar = FakeAgent::start(&relay.authority, "cedar.trilobite-node.reef.svc").await;
    let mut addresses = (**relay.addresses.borrow()).clone();
    addresses.insert("cedar".into(), cedar.address);
    addresses.remove("birch");
    relay.addresses.send_replace(Arc::new(addresses));
    flows.expect(Said::Nodes(NodeState::NodeGone, vec!["birch".into()])).await;
    flows.expect(connected(&["cedar"])).await;
    until("the node is read", || cedar.state.new_flows.receiver_count() == 1).await;
    happen(&cedar, "cedar", 6);
    flows.expect(named("cedar-6-0")).await;
    until("the other is not read any more", || relay.birch.state.new_flows.receiver_count() == 0).await;
}

#[tokio::test]
async fn flows_that_a_slow_client_misses_are_reported_as_lost() {
    const FLOWS: u64 = 20_000;
    let relay = Relay::start().await;
    let (_client, mut flows) = following(&relay).await;
    let now = u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
    for number in 0..FLOWS {
        relay.alder.state.new_flows.send(flow("alder", "shop", "cart-7", now + number)).unwrap();
    }
    until("the client's queue is full", || relay.rows("flows", "lost") > 0).await;
    until("all are received", || relay.rows("flows", "received") == FLOWS).await;
    let (mut read, mut lost) = (0, 0);
    while read + lost < FLOWS {
        match flows.next().await.unwrap().unwrap() {
            Said::Flow(_) => read += 1,
            Said::Lost(count) => lost += count,
            Said::Nodes(..) => {}
        }
    }
    assert!(lost > 0 && read + lost == FLOWS, "{read} + {lost}");
    assert_eq!((relay.rows("flows", "delivered"), relay.rows("flows", "lost")), (read, lost));
    until("its memory is free", || relay.budget.used() == 0).await;
}

#[tokio::test]
async fn client_that_leaves_ends_the_streams_of_its_nodes() {
    let relay = Relay::start().await;
    let (client, flows) = following(&relay).await;
    drop((client, flows));
    for agent in [&relay.alder, &relay.birch] {
        until("the node is not read any more", || agent.state.new_flows.receiver_count() == 0).await;
    }
    assert_eq!(relay.metrics.watchers.get(), 0);
}

#[tokio::test]
async fn until_ends_a_stream_that_follows() {
    let relay = Relay::start().await;
    let client = HubbleClient::by_port_forward(&relay).await;
    let until = jiff::Timestamp::now() + Duration::from_millis(200);
    let until = prost_types::Timestamp { seconds: until.as_second(), nanos: until.subsec_nanosecond() };
    let said = client.all(GetFlowsRequest { until: Some(until), ..follow() }).await;
    assert_eq!(said, [connected(&["alder", "birch"])]);
}
