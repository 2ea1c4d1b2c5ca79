//! Certificates that change while streams are open, and agents that are not who they should be.

use std::{sync::Arc, time::Duration};

use trilobite_relay::agents::client_config;

use crate::{
    authority::Authority,
    client::HttpsClient,
    fake_agent::FakeAgent,
    fixture::{API, Relay, exec, request_headers},
};

async fn until_read(relay: &Relay) {
    while relay.alder.state.new_events.receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn renewed_certificates_leave_open_streams_alone() {
    let relay = Relay::start().await;
    let path = format!("{API}/namespaces/shop/events?watch=true");
    let mut watch = relay.admin().get(&path).await;
    until_read(&relay).await;

    // The certificate for the API server, from another CA, so that its use can be seen.
    let next = Authority::new("next-ca");
    relay.renew_serving_certificate(&next);
    // The certificate for agents.
    let renewed = client_config(&relay.authority.bundle(), &relay.authority.client("trilobite-relay")).unwrap();
    relay.agent_tls.send_replace(Some(Arc::new(renewed)));

    for number in 0..100 {
        relay.alder.state.new_events.send(exec("alder", "shop", "cart-7", number)).unwrap();
        let line = watch.line().await.unwrap();
        assert_eq!(line["object"]["object"]["process_exec"]["process"]["pid"], number);
    }
    assert!(relay.admin().try_get(&path).await.is_err(), "the old CA does not know the new certificate");
    let proxy = relay.front_proxy.client("front-proxy-client");
    let client = HttpsClient::new(relay.address, &next, Some(&proxy)).with("x-remote-user", "admin");
    assert_eq!(client.get(&format!("{API}/namespaces/shop/flows")).await.status, 200);
    assert_eq!(*relay.alder.state.connections.lock(), 2, "new calls use the renewed certificate");
    relay.alder.state.new_events.send(exec("alder", "shop", "cart-7", 101)).unwrap();
    assert!(watch.line().await.is_some());
}

#[tokio::test]
async fn agent_with_a_foreign_certificate_is_refused() {
    let relay = Relay::start().await;
    let stranger = Authority::new("trilobite-ca");
    let impostor = FakeAgent::start(&stranger, "cedar.trilobite-node.reef.svc").await;
    let other_namespace = FakeAgent::start(&relay.authority, "dogwood.trilobite-node.lagoon.svc").await;
    let mut addresses = (**relay.addresses.borrow()).clone();
    addresses.insert("cedar".into(), impostor.address);
    addresses.insert("dogwood".into(), other_namespace.address);
    relay.addresses.send_replace(addresses.into());
    let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows")).await;
    assert_eq!(list["coverage"]["nodes"], serde_json::json!({"asked": 4, "answered": 2, "late": 0, "refused": 2}));
    assert!(impostor.state.calls.lock().is_empty() && other_namespace.state.calls.lock().is_empty());
}

#[tokio::test]
async fn agent_that_does_not_let_the_relay_in_has_refused() {
    let relay = Relay::start().await;
    let other = Authority::new("another-cluster");
    let strict = FakeAgent::letting_in(&relay.authority, "cedar.trilobite-node.reef.svc", &other).await;
    let mut addresses = (**relay.addresses.borrow()).clone();
    addresses.insert("cedar".into(), strict.address);
    relay.addresses.send_replace(addresses.into());
    for path in ["flows", "profiles"] {
        let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/{path}")).await;
        assert_eq!(list["coverage"]["nodes"], serde_json::json!({"asked": 3, "answered": 2, "late": 0, "refused": 1}));
    }
    assert!(strict.state.calls.lock().is_empty());
}

#[tokio::test]
async fn without_a_client_certificate_no_node_answers() {
    let relay = Relay::start().await;
    relay.agent_tls.send_replace(None);
    let (_, list) = relay.admin().get_json(&format!("{API}/flows")).await;
    assert_eq!(list["coverage"]["nodes"]["late"], 2);
    assert_eq!(list["coverage"]["problems"][0]["message"], "the relay has no client certificate yet");
    assert_eq!(relay.admin().get("/readyz").await.status, 503);
}

#[tokio::test]
async fn changed_front_proxy_ca_closes_connections_at_their_next_request() {
    let relay = Relay::start().await;
    let path = format!("{API}/namespaces/shop/flows");
    let client = relay.admin();
    let (mut staying, mut leaving) = (client.kept_open().await, client.kept_open().await);
    assert_eq!((staying.get(&path).await.0, leaving.get(&path).await.0), (200, 200));

    let next = Authority::new("next-front-proxy-ca");
    let both = request_headers(&[&relay.front_proxy, &next]);
    relay.headers.send_replace(Some(Arc::new(both)));
    assert_eq!(staying.get(&path).await, (200, None), "it is signed by a CA of the new bundle");

    relay.headers.send_replace(Some(Arc::new(request_headers(&[&next]))));
    for path in [path.as_str(), "/livez"] {
        let (status, connection) = if path == "/livez" { &mut leaving } else { &mut staying }.get(path).await;
        assert_eq!((status, connection.as_deref()), (401, Some("close")), "{path}");
    }
}
