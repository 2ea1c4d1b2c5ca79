//! What the API server's aggregation asks for.

use crate::fixture::{API, Relay};

#[tokio::test]
async fn discovery_has_both_forms_and_openapi_is_served() {
    let relay = Relay::start().await;
    let aggregator = relay.user("system:kube-aggregator");
    let (status, version) = aggregator.get_json(API).await;
    assert_eq!((status, version["kind"].as_str()), (200, Some("APIResourceList")));
    let (_, groups) = aggregator.get_json("/apis").await;
    assert_eq!(groups["groups"][0]["name"], "read.trilobite.dev");

    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = aggregator.clone().with("accept", accept).get("/apis").await;
    assert_eq!(answer.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/read.trilobite.dev/v1alpha1?hash=1"] {
        assert_eq!(aggregator.get(path).await.status, 200, "{path}");
    }
    assert_eq!(aggregator.get("/apis/apps/v1").await.status, 404);
}

#[tokio::test]
async fn node_answers_name_nodes_that_are_away() {
    let relay = Relay::start().await;
    let mut addresses = (**relay.addresses.borrow()).clone();
    // A port at which nothing listens.
    addresses.insert("cedar".into(), "127.0.0.1:1".parse().unwrap());
    // The agent of another node.
    addresses.insert("dogwood".into(), relay.birch.address);
    relay.addresses.send_replace(addresses.into());
    let (_, list) = relay.admin().get_json(&format!("{API}/nodes")).await;
    let states: Vec<(&str, &str)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["object"]["node"].as_str().unwrap(), item["object"]["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("alder", "answered"), ("birch", "answered"), ("cedar", "late"), ("dogwood", "refused")]);
    assert_eq!(list["items"][0]["object"]["version"], "9.8.7");
    assert_eq!(list["coverage"]["nodes"]["asked"], 4);
    assert!(list["items"][3]["object"]["detail"].as_str().unwrap().contains("dogwood"), "{list}");
    let (status, one) = relay.admin().get_json(&format!("{API}/nodes/cedar")).await;
    assert_eq!((status, one["kind"].as_str()), (200, Some("NodeAnswer")));
    assert_eq!(relay.admin().get(&format!("{API}/nodes/elm")).await.status, 404);
}
