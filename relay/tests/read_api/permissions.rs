//! Who is let in, and what they may read.

use tonic::Status;

use crate::{
    authority::Authority,
    client::HttpsClient,
    fixture::{API, Relay, exec, flow},
};

#[tokio::test]
async fn stranger_is_refused_and_probes_are_answered() {
    let relay = Relay::start().await;
    let stranger = HttpsClient::new(relay.address, &relay.authority, None).with("x-remote-user", "admin");
    for path in [format!("{API}/flows"), API.to_owned(), "/apis".into(), "/nowhere".into(), "/metrics".into()] {
        let (status, body) = stranger.get_json(&path).await;
        assert_eq!((status, body["reason"].as_str()), (401, Some("Unauthorized")), "{path}");
    }
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(stranger.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn headers_count_only_from_the_proxy_of_the_api_server() {
    let relay = Relay::start().await;
    relay.allow(&["zoe list flows shop"]);
    let path = format!("{API}/namespaces/shop/flows");
    assert_eq!(relay.user("zoe").get(&path).await.status, 200);

    let other_name = relay.front_proxy.client("kubelet");
    let kubelet = HttpsClient::new(relay.address, &relay.authority, Some(&other_name)).with("x-remote-user", "zoe");
    assert_eq!(kubelet.get(&path).await.status, 401);

    for (authority, name) in
        [(&Authority::new("front-proxy-ca"), "front-proxy-client"), (&relay.authority, "trilobite-relay")]
    {
        let certificate = authority.client(name);
        let client = HttpsClient::new(relay.address, &relay.authority, Some(&certificate)).with("x-remote-user", "zoe");
        // Either nothing is sent, because no CA of the server has signed it, or the handshake fails.
        let status = client.try_get(&path).await.map_or(0, |answer| answer.status);
        assert!(status == 0 || status == 401, "{name}: {status}");
    }
}

#[tokio::test]
async fn token_is_reviewed_and_rbac_decides() {
    let relay = Relay::start().await;
    relay.allow(&["zoe list flows shop"]);
    let with_token = |token: &str| {
        HttpsClient::new(relay.address, &relay.authority, None).with("authorization", &format!("Bearer {token}"))
    };
    assert_eq!(with_token("token-of-zoe").get(&format!("{API}/namespaces/shop/flows")).await.status, 200);
    assert_eq!(with_token("token-of-ida").get(&format!("{API}/namespaces/shop/flows")).await.status, 403);
    assert_eq!(with_token("forged").get(&format!("{API}/namespaces/shop/flows")).await.status, 401);
}

#[tokio::test]
async fn every_other_right_is_refused_by_its_verb_and_resource() {
    let relay = Relay::start().await;
    relay.allow(&["zoe list flows shop"]);
    let zoe = relay.user("zoe");
    for (path, refused) in [
        ("flows", r#"cannot list resource "flows" in API group "read.trilobite.dev" at the cluster scope"#),
        (
            "namespaces/bank/flows",
            r#"cannot list resource "flows" in API group "read.trilobite.dev" in the namespace "bank""#,
        ),
        ("namespaces/shop/flows?watch=1", r#"cannot watch resource "flows""#),
        ("namespaces/shop/flows/x", r#"cannot get resource "flows""#),
        ("namespaces/shop/events", r#"cannot list resource "events""#),
        ("namespaces/shop/events?watch=true", r#"cannot watch resource "events""#),
        ("namespaces/shop/profiles", r#"cannot list resource "profiles""#),
        ("namespaces/shop/profiles/p/flamegraph", r#"cannot get resource "profiles/flamegraph""#),
        ("namespaces/shop/profiles/p/folded", r#"cannot get resource "profiles/folded""#),
        ("namespaces/shop/profiles/p/pprof", r#"cannot get resource "profiles/pprof""#),
        ("nodes", r#"cannot list resource "nodes" in API group "read.trilobite.dev" at the cluster scope"#),
    ] {
        let (status, body) = zoe.get_json(&format!("{API}/{path}")).await;
        let message = body["message"].as_str().unwrap();
        assert_eq!((status, body["reason"].as_str()), (403, Some("Forbidden")), "{path}");
        assert!(message.contains("User \"zoe\"") && message.contains(refused), "{path}: {message}");
    }
    assert!(relay.alder.state.calls.lock().is_empty(), "no agent was asked");
}

#[tokio::test]
async fn agents_are_asked_for_the_namespace_of_the_request_alone() {
    let relay = Relay::start().await;
    relay.alder.state.flows.lock().extend([
        flow("alder", "shop", "cart-7", 1_000_000_000),
        // An agent that did not apply the scope.
        flow("alder", "bank", "till-1", 2_000_000_000),
    ]);
    relay.allow(&["zoe list flows shop", "zoe list events shop"]);
    let admin = relay.admin();
    let (_, list) = relay.user("zoe").get_json(&format!("{API}/namespaces/shop/flows")).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["metadata"]["namespace"], "shop");
    let _ = relay.alder.state.new_events.send(exec("alder", "bank", "till-1", 1));
    relay.user("zoe").get_json(&format!("{API}/namespaces/shop/events?forSeconds=1")).await;
    let scopes: Vec<_> = relay.alder.state.calls.lock().clone();
    assert!(scopes.iter().all(|(scope, _)| scope == "shop"), "{scopes:?}");

    let (_, list) = admin.get_json(&format!("{API}/flows")).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(relay.alder.state.calls.lock().last().unwrap().0, "*");
}

#[tokio::test]
async fn decision_of_rbac_is_asked_for_once_in_ten_seconds() {
    let relay = Relay::start().await;
    relay.allow(&["zoe list flows shop"]);
    for _ in 0..5 {
        assert_eq!(relay.user("zoe").get(&format!("{API}/namespaces/shop/flows")).await.status, 200);
        assert_eq!(relay.user("zoe").get(&format!("{API}/namespaces/bank/flows")).await.status, 403);
    }
    assert_eq!(relay.rights.lock().reviews, 2);
}

#[tokio::test]
async fn nothing_can_be_written() {
    use http_body_util::Full;
    use hyper::body::Bytes;
    let relay = Relay::start().await;
    let stream = relay.admin().connect().await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::delete(format!("{API}/namespaces/shop/flows"))
        .header("host", "relay")
        .header("x-remote-user", "admin")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 405);
}

#[tokio::test]
async fn tenant_learns_no_address_and_no_error_of_a_node() {
    let relay = Relay::start().await;
    let mut addresses = (**relay.addresses.borrow()).clone();
    // A port at which nothing listens, and the agent of another node.
    addresses.insert("cedar".into(), "127.0.0.1:1".parse().unwrap());
    addresses.insert("dogwood".into(), relay.alder.address);
    relay.addresses.send_replace(addresses.into());
    *relay.birch.state.refusal.lock() = Some(Status::internal("cannot open /var/run/trilobite"));
    let (mut paths, admin) = (Vec::new(), relay.admin());
    for (verb, path) in [
        ("list flows", "flows"),
        ("get flows", "flows/none"),
        ("list events", "events?forSeconds=0"),
        ("list profiles", "profiles"),
        ("get profiles", "profiles/none"),
        ("get profiles/folded", "profiles/none/folded"),
    ] {
        relay.allow(&[&format!("zoe {verb} shop")]);
        paths.push(path);
    }
    relay.allow(&["zoe watch flows shop"]);
    let is_told = |text: &str| text.contains("127.0.0.1") || text.contains("/var/run") || text.contains("certificate");
    let mut watch = relay.user("zoe").get(&format!("{API}/namespaces/shop/flows?watch=1&allowWatchBookmarks=1")).await;
    let bookmark = watch.line().await.unwrap().to_string();
    assert!(bookmark.contains("unreachable") && !is_told(&bookmark), "{bookmark}");
    for path in paths {
        let answer = relay.user("zoe").get(&format!("{API}/namespaces/shop/{path}")).await;
        let headers = format!("{:?}", answer.headers);
        let text = String::from_utf8(answer.bytes().await).unwrap();
        assert!(!is_told(&text) && !is_told(&headers), "{path}: {headers} {text}");
    }
    let (_, list) = relay.user("zoe").get_json(&format!("{API}/namespaces/shop/flows")).await;
    let problems: Vec<_> = list["coverage"]["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["node"].as_str().unwrap(), problem["message"].as_str().unwrap()))
        .collect();
    assert_eq!(problems, [("birch", "refused"), ("cedar", "unreachable"), ("dogwood", "refused")]);
    let (_, list) = admin.get_json(&format!("{API}/flows")).await;
    assert!(is_told(&list["coverage"].to_string()), "{list}");
}

#[tokio::test]
async fn error_of_the_api_server_is_not_told() {
    let relay = Relay::start().await;
    relay.rights.lock().is_away = true;
    let with_token = HttpsClient::new(relay.address, &relay.authority, None).with("authorization", "Bearer x");
    for client in [relay.user("zoe"), with_token] {
        let (status, body) = client.get_json(&format!("{API}/namespaces/shop/flows")).await;
        assert_eq!(status, 503);
        assert!(!body.to_string().contains("10.96"), "{body}");
    }
}
