//! Requests of two nodes: lists, tables, one by its name, watches, and what a tenant gets.

use trilobite_api::requests::{Endpoint, GetRequestsResponse, LostRequests, Request, get_requests_response::Response};

use crate::{
    fixture::{API, Relay},
    watches::until,
};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// `GET /cart` of a pod, whose response ended at that time.
fn request(node: &str, pod: &str, ended: u64) -> GetRequestsResponse {
    let seconds = i64::try_from(ended / 1_000_000_000).unwrap();
    let nanos = i32::try_from(ended % 1_000_000_000).unwrap();
    let time = Some(prost_types::Timestamp { seconds, nanos });
    let remote = Endpoint { namespace: "shop".into(), pod: "front-1".into(), ..Endpoint::default() };
    let request = Request {
        time: Some(prost_types::Timestamp { seconds: seconds - 1, nanos }),
        namespace: "shop".into(),
        pod: pod.into(),
        protocol: "http".into(),
        role: "server".into(),
        remote: Some(remote),
        latency: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        status: "200".into(),
        operation: "GET".into(),
        target: "/cart".into(),
        profile: "shop/slow".into(),
        id: format!("{node}-{seconds}-{nanos}"),
        node: node.into(),
        pod_labels: [("app".to_owned(), pod.split('-').next().unwrap().to_owned())].into(),
        ..Request::default()
    };
    GetRequestsResponse { response: Some(Response::Request(request)), node_name: node.into(), time }
}

fn names(list: &serde_json::Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn requests_of_two_nodes_are_merged_by_the_end_of_their_responses() {
    let relay = Relay::start().await;
    let rows = |node: &'static str, pod: &'static str, seconds: [u64; 3]| {
        seconds.map(|second| request(node, pod, second * 1_000_000_000))
    };
    relay.alder.state.requests.lock().extend(rows("alder", "cart-7", [1, 3, 5]));
    relay.birch.state.requests.lock().extend(rows("birch", "till-1", [2, 4, 6]));
    let (status, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/requests?limit=4")).await;
    assert_eq!((status, list["kind"].as_str()), (200, Some("RequestList")));
    assert_eq!(names(&list), ["alder-3-0", "birch-4-0", "alder-5-0", "birch-6-0"]);
    let object = &list["items"][0]["object"];
    assert_eq!((object["latency"].as_str(), object["target"].as_str()), (Some("1s"), Some("/cart")));
    assert_eq!(list["items"][0]["metadata"]["labels"]["app"], "cart");
    assert_eq!(list["coverage"]["nodes"]["answered"], 2);
    assert_eq!((relay.rows("requests", "received"), relay.rows("requests", "omitted")), (6, 2));
    assert_eq!(relay.rows("flows", "received"), 0);
    let scopes: Vec<_> = relay.alder.state.calls.lock().clone();
    assert_eq!(scopes, [("shop".to_owned(), "GetRequests")]);
}

#[tokio::test]
async fn kubectl_gets_a_table_of_requests_and_one_by_its_name() {
    let relay = Relay::start().await;
    relay.birch.state.requests.lock().push(request("birch", "till-1", 4_000_000_000));
    let kubectl = relay.admin().with("accept", TABLE);
    let (_, table) = kubectl.get_json(&format!("{API}/namespaces/shop/requests?limit=500")).await;
    let columns: Vec<(&str, u64)> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["priority"].as_u64().unwrap()))
        .collect();
    let narrow: Vec<&str> = columns.iter().filter(|(_, priority)| *priority == 0).map(|(name, _)| *name).collect();
    assert_eq!(narrow, ["Time", "Pod", "Role", "Protocol", "Peer", "Operation", "Target", "Status", "Latency"]);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), columns.len());
    let shown: Vec<&str> = cells[..9].iter().map(|cell| cell.as_str().unwrap()).collect();
    let begin = ["1970-01-01T00:00:03.000Z", "till-1", "server", "http", "shop/front-1"];
    assert_eq!(shown, [begin.as_slice(), &["GET", "/cart", "200", "1.00s"]].concat());

    let path = format!("{API}/namespaces/shop/requests");
    let (status, one) = relay.admin().get_json(&format!("{path}/birch-4-0")).await;
    assert_eq!((status, one["kind"].as_str()), (200, Some("Request")));
    let (status, missing) = relay.admin().get_json(&format!("{path}/x")).await;
    assert_eq!((status, missing["message"].as_str()), (404, Some("requests.read.trilobite.dev \"x\" not found")));
}

#[tokio::test]
async fn selectors_and_slow_requests_are_put_to_the_agents() {
    let relay = Relay::start().await;
    let query = "fieldSelector=pod%3Dcart-7,isError%3Dtrue,node%3Dalder&slowerThan=100ms&sinceSeconds=60";
    let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/requests?{query}")).await;
    assert_eq!(list["coverage"]["nodes"]["asked"], 1);
    let query = relay.alder.state.request_queries.lock()[0].clone();
    assert_eq!(
        (query.namespaces.as_slice(), query.pod.as_str(), query.errors),
        (&["shop".to_owned()][..], "cart-7", true)
    );
    assert_eq!(query.slower_than.unwrap().nanos, 100_000_000);
    assert!(query.since.is_some() && !query.follow);
    let (status, error) = relay.admin().get_json(&format!("{API}/namespaces/shop/requests?slowerThan=fast")).await;
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().starts_with("slowerThan: \"fast\" is not a time"), "{error}");
}

#[tokio::test]
async fn tenant_reads_requests_of_its_namespace_alone() {
    let relay = Relay::start().await;
    relay.alder.state.requests.lock().push(request("alder", "cart-7", 1_000_000_000));
    relay.allow(&["zoe list requests bank", "zoe list flows shop"]);
    let zoe = relay.user("zoe");
    let (status, error) = zoe.get_json(&format!("{API}/namespaces/shop/requests")).await;
    assert_eq!(status, 403);
    assert!(error["message"].as_str().unwrap().contains("cannot list resource \"requests\""), "{error}");
    assert_eq!(zoe.get(&format!("{API}/requests")).await.status, 403);
    // An agent that sends what its scope does not allow is not believed.
    let (status, list) = zoe.get_json(&format!("{API}/namespaces/bank/requests")).await;
    assert_eq!((status, names(&list).len()), (200, 0));
}

#[tokio::test]
async fn watch_of_requests_goes_on_from_a_position() {
    let relay = Relay::start().await;
    let second = 1_000_000_000;
    relay.alder.state.requests.lock().extend([97, 101].map(|at| request("alder", "cart-7", at * second)));
    let path = format!("{API}/namespaces/shop/requests?watch=true&resourceVersion={}", 100 * second);
    let mut watch = relay.admin().get(&path).await;
    let line = watch.line().await.unwrap();
    assert_eq!(line["object"]["metadata"]["name"], "alder-101-0", "what ended before is left out");
    let query = relay.alder.state.request_queries.lock()[0].clone();
    assert_eq!(query.since.unwrap().seconds, 39, "a request that ends later may have begun a minute before");
    let sender = relay.birch.state.new_requests.clone();
    until("the other node is read", || sender.receiver_count() == 1).await;
    let lost = LostRequests { profile: "shop/slow".into(), place: "budget".into(), count: 7 };
    let lost = GetRequestsResponse { response: Some(Response::Lost(lost)), ..GetRequestsResponse::default() };
    sender.send(lost).unwrap();
    sender.send(request("birch", "till-1", 102 * second)).unwrap();
    assert_eq!(watch.line().await.unwrap()["object"]["object"]["lost"]["count"], "7");
    assert_eq!(watch.line().await.unwrap()["object"]["metadata"]["name"], "birch-102-0");
}
