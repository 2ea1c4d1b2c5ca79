//! Users of Hubble's API by TLS: who is let in, and what they may read.

use std::{sync::Arc, time::Duration};

use rcgen::ExtendedKeyUsagePurpose;
use tonic::Code;
use trilobite_api::observer::{GetFlowsRequest, GetNodesRequest, ServerStatusRequest};
use trilobite_relay::{
    agents::client_config, hubble::hubble_server_config, resources::permission::PermissionTimes,
    serve::ConnectionLimits,
};

use crate::{
    authority::Authority,
    client::SERVICE,
    fixture::{Limits, Relay, flow},
    hubble_client::{HubbleClient, Said},
    hubble_flows::SECOND,
    watches::until,
};

/// `token:token-of-zoe`, as the client of Hubble sends it.
const BASIC_OF_ZOE: &str = "Basic dG9rZW46dG9rZW4tb2Ytem9l";

/// The scopes of all calls of the agents.
fn scopes(relay: &Relay) -> Vec<String> {
    let calls = [&relay.alder, &relay.birch].map(|agent| agent.state.calls.lock().clone());
    let mut scopes: Vec<String> = calls.concat().into_iter().map(|(scope, _)| scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

async fn code(client: &HubbleClient) -> Code {
    match client.flows(GetFlowsRequest { number: 1, ..GetFlowsRequest::default() }).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn token_reads_the_namespaces_that_its_user_may_read() {
    let relay = Relay::start().await;
    relay.alder.state.flows.lock().push(flow("alder", "shop", "cart-7", SECOND));
    let zoe = HubbleClient::by_tls(&relay, None).with(BASIC_OF_ZOE);
    let refused = zoe.flows(GetFlowsRequest::default()).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains(r#"User "zoe" cannot get resource "flows""#), "{refused}");
    assert_eq!(scopes(&relay), [""; 0], "no agent was asked");

    let ida = HubbleClient::by_tls(&relay, None).with("Bearer token-of-ida");
    relay.allow(&["ida get flows shop", "ida get flows bank", "ida get flows lagoon", "ida list flows reef"]);
    assert_eq!(code(&ida).await, Code::Ok);
    assert_eq!(scopes(&relay), ["bank,shop"], "of the namespaces that there are");
    ida.observer().server_status(ida.request(ServerStatusRequest {})).await.unwrap();
    assert_eq!(scopes(&relay), ["bank,shop"]);
    let nodes = ida.observer().get_nodes(ida.request(GetNodesRequest {})).await.unwrap().into_inner().nodes;
    assert!(nodes.iter().all(|node| node.address.is_empty()), "addresses are for administrators: {nodes:?}");
}

#[tokio::test]
async fn right_in_the_whole_cluster_reads_everything() {
    let relay = Relay::start().await;
    relay.allow(&["zoe get flows *"]);
    assert_eq!(code(&HubbleClient::by_tls(&relay, None).with(BASIC_OF_ZOE)).await, Code::Ok);
    assert_eq!(scopes(&relay), ["*"]);
}

#[tokio::test]
async fn certificate_of_the_cluster_names_a_user() {
    let relay = Relay::start().await;
    relay.allow(&["zoe get flows shop", "trilobite-relay get flows *", "mallory get flows *"]);
    let by = |certificate| HubbleClient::by_tls(&relay, Some(&certificate));
    assert_eq!(code(&by(relay.users.client("zoe"))).await, Code::Ok);
    assert_eq!(scopes(&relay), ["shop"]);
    // A token beside it changes nothing.
    assert_eq!(code(&by(relay.users.client("eve")).with(BASIC_OF_ZOE)).await, Code::PermissionDenied);
    // Neither our own CA nor another one names users, and a certificate of a server is none of a client.
    for certificate in [
        relay.authority.client("trilobite-relay"),
        Authority::new("users-ca").client("mallory"),
        relay.users.issue("mallory", &["mallory"], ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        assert_ne!(code(&by(certificate)).await, Code::Ok);
    }
    assert_eq!(scopes(&relay), ["shop"]);
}

#[tokio::test]
async fn strangers_are_told_how_to_show_who_they_are() {
    let relay = Relay::start().await;
    relay.allow(&["zoe get flows *"]);
    let stranger = || HubbleClient::by_tls(&relay, None);
    for client in [stranger(), stranger().with("Bearer nobody"), stranger().with("Basic em9lOnRva2VuLW9mLXpvZQ==")] {
        let refused = client.flows(GetFlowsRequest::default()).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.message().contains("--basic-auth-username token"), "{refused}");
    }
    assert_eq!(scopes(&relay), [""; 0]);
}

#[tokio::test]
async fn stream_ends_when_its_user_may_not_read_any_more() {
    let permission = PermissionTimes { recheck_interval: Duration::from_millis(300), grace: Duration::from_secs(5) };
    let relay = Relay::start_with(Limits { permission, ..Limits::default() }).await;
    relay.allow(&["zoe get flows bank", "zoe get flows shop"]);
    let zoe = HubbleClient::by_tls(&relay, None).with(BASIC_OF_ZOE);
    let mut flows = zoe.flows(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }).await.unwrap();
    flows.next().await.unwrap();
    relay.rights.lock().allowed.remove("zoe get flows bank");
    let refused = flows.next().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains(r#"may not get flows in namespace "bank" any more"#), "{refused}");
}

#[tokio::test]
async fn renewed_certificates_leave_open_streams_alone() {
    let relay = Relay::start().await;
    relay.allow(&["zoe get flows *"]);
    let zoe = HubbleClient::by_tls(&relay, None).with(BASIC_OF_ZOE);
    let mut flows = zoe.flows(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }).await.unwrap();
    flows.next().await.unwrap();
    // The certificate for clients, from another CA, so that its use can be seen; and the one for agents.
    let next = Authority::new("next-ca");
    let headers = relay.headers.borrow().clone().unwrap();
    let config = hubble_server_config(&next.server(SERVICE), &headers).unwrap();
    relay.hubble_config.send_replace(Some(Arc::new(config)));
    let renewed = client_config(&relay.authority.bundle(), &relay.authority.client("trilobite-relay")).unwrap();
    relay.agent_tls.send_replace(Some(Arc::new(renewed)));
    until("the node is read", || relay.alder.state.new_flows.receiver_count() == 1).await;
    relay.alder.state.new_flows.send(flow("alder", "shop", "cart-7", SECOND)).unwrap();
    assert_eq!(flows.next().await.unwrap(), Some(Said::Flow("alder-1-0".into())));
    assert_ne!(
        code(&HubbleClient::by_tls(&relay, None).with(BASIC_OF_ZOE)).await,
        Code::Ok,
        "it knows the old CA alone"
    );
    assert_eq!(code(&zoe).await, Code::Ok, "the open connection goes on");
    assert_eq!(*relay.alder.state.connections.lock(), 2, "new calls use the renewed certificate");
}

#[tokio::test]
async fn user_with_a_token_keeps_its_connection() {
    let stranger_lifetime = Duration::from_millis(300);
    let connections = ConnectionLimits { stranger_lifetime, ..ConnectionLimits::default() };
    let relay = Relay::start_with(Limits { connections, ..Limits::default() }).await;
    relay.allow(&["zoe get flows *"]);
    let zoe = HubbleClient::by_tls(&relay, None).with(BASIC_OF_ZOE);
    let mut flows = zoe.flows(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }).await.unwrap();
    flows.next().await.unwrap();
    tokio::time::sleep(2 * stranger_lifetime).await;
    relay.alder.state.new_flows.send(flow("alder", "shop", "cart-7", SECOND)).unwrap();
    assert!(flows.next().await.unwrap().is_some(), "a user with a token is no stranger");
}
