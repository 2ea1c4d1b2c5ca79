//! Lists of flows and events over two nodes.

use std::time::{Duration, Instant};

use tonic::Status;
use trilobite_api::{
    flow::LostEvent,
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use crate::fixture::{API, Relay, exec, flow};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn flows_of_two_nodes_are_merged_by_time() {
    let relay = Relay::start().await;
    relay.alder.state.flows.lock().extend([1, 3, 5].map(|time| flow("alder", "shop", "cart-7", time * 1_000_000_000)));
    relay.birch.state.flows.lock().extend([2, 4, 6].map(|time| flow("birch", "shop", "till-1", time * 1_000_000_000)));
    let (status, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows?limit=4")).await;
    assert_eq!((status, list["kind"].as_str()), (200, Some("FlowList")));
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alder-3-0", "birch-4-0", "alder-5-0", "birch-6-0"]);
    assert_eq!(list["items"][0]["metadata"]["labels"]["app"], "cart");
    assert_eq!(list["items"][0]["object"]["flow"]["destination"]["pod_name"], "cart-7");
    assert_eq!(list["coverage"]["nodes"], serde_json::json!({"asked": 2, "answered": 2, "late": 0, "refused": 0}));
    assert_eq!(relay.rows("flows", "received"), 6);
    assert_eq!(relay.rows("flows", "omitted"), 2);
}

#[tokio::test]
async fn kubectl_gets_a_table_and_a_single_flow() {
    let relay = Relay::start().await;
    relay.birch.state.flows.lock().push(flow("birch", "shop", "till-1", 4_000_000_000));
    let kubectl = relay.admin().with("accept", TABLE);
    let (_, table) = kubectl.get_json(&format!("{API}/namespaces/shop/flows?limit=500")).await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][3]["name"], "Destination");
    assert_eq!(table["rows"][0]["cells"][3], "shop/till-1");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "birch-4-0");

    let (status, one) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows/birch-4-0")).await;
    assert_eq!((status, one["kind"].as_str()), (200, Some("Flow")));
    assert_eq!(relay.birch.state.flow_requests.lock().last().unwrap().whitelist[0].uuid, ["birch-4-0"]);
    let (status, missing) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows/x")).await;
    assert_eq!((status, missing["message"].as_str()), (404, Some("flows.read.trilobite.dev \"x\" not found")));
    assert_eq!(relay.admin().get(&format!("{API}/namespaces/shop/events/x")).await.status, 404);
    let protobuf = relay.admin().with("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(protobuf.get(&format!("{API}/namespaces/shop/flows")).await.status, 406);
}

#[tokio::test]
async fn selectors_reach_the_agents_and_nodes_are_chosen() {
    let relay = Relay::start().await;
    let query = "fieldSelector=pod%3Dcart-7,verdict%3DDROPPED,node%3Dalder&labelSelector=app%3Dcart&sinceSeconds=60";
    let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows?{query}")).await;
    assert_eq!(list["coverage"]["nodes"]["asked"], 1);
    assert!(relay.birch.state.flow_requests.lock().is_empty());
    let request = relay.alder.state.flow_requests.lock()[0].clone();
    assert_eq!(request.whitelist[0].source_pod, ["shop/cart-7"]);
    assert_eq!(request.whitelist[1].destination_label, ["app in (cart)"]);
    assert!(request.since.is_some() && !request.follow);

    let (status, error) =
        relay.admin().get_json(&format!("{API}/namespaces/shop/flows?fieldSelector=binary%3Dx")).await;
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().starts_with("fieldSelector: \"binary\" is none of pod, "), "{error}");
}

#[tokio::test]
async fn events_are_collected_and_stop_at_the_limit() {
    let relay = Relay::start().await;
    let events = [relay.alder.state.new_events.clone(), relay.birch.state.new_events.clone()];
    let sending = tokio::spawn(async move {
        for number in 0.. {
            let _ = events[0].send(exec("alder", "shop", "cart-7", number));
            let _ = events[1].send(exec("birch", "shop", "till-1", number));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let started = Instant::now();
    let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/events?forSeconds=20&limit=5")).await;
    assert!(started.elapsed() < Duration::from_secs(15), "the limit ends the list");
    assert_eq!(list["items"].as_array().unwrap().len(), 5);
    assert_eq!(
        (list["kind"].as_str(), list["metadata"]["resourceVersion"].as_str()),
        (Some("RuntimeEventList"), Some(""))
    );
    assert_eq!(list["coverage"]["nodes"]["answered"], 2);

    let kubectl = relay.admin().with("accept", TABLE);
    let (_, table) = kubectl.get_json(&format!("{API}/namespaces/shop/events?forSeconds=1")).await;
    assert_eq!(table["rows"][0]["cells"][2], "exec");
    sending.abort();
    let (_, empty) = relay.admin().get_json(&format!("{API}/namespaces/shop/events?forSeconds=0")).await;
    assert_eq!(empty["items"], serde_json::json!([]));
}

#[tokio::test]
async fn coverage_says_who_is_late_and_what_was_lost() {
    let relay = Relay::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut addresses = (**relay.addresses.borrow()).clone();
    addresses.insert("cedar".into(), silent.local_addr().unwrap());
    relay.addresses.send_replace(addresses.into());
    let lost = LostEvent { num_events_lost: 7, ..LostEvent::default() };
    relay.alder.state.flows.lock().extend([
        flow("alder", "shop", "cart-7", 1_000_000_000),
        GetFlowsResponse { response_types: Some(ResponseTypes::LostEvents(lost)), ..GetFlowsResponse::default() },
    ]);
    *relay.birch.state.refusal.lock() = Some(Status::permission_denied("not yours"));
    let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows")).await;
    let coverage = &list["coverage"];
    assert_eq!(coverage["nodes"], serde_json::json!({"asked": 3, "answered": 1, "late": 1, "refused": 1}));
    assert_eq!(coverage["lost"], 7);
    assert_eq!(coverage["problems"][0]["message"], "refused");
    let (_, list) = relay.admin().get_json(&format!("{API}/flows")).await;
    assert_eq!(list["coverage"]["problems"][0]["message"], "not yours", "for those who may read the whole cluster");
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "a loss is no flow");
}

#[tokio::test]
async fn query_that_every_agent_refuses_is_a_bad_request() {
    let relay = Relay::start().await;
    for agent in [&relay.alder, &relay.birch] {
        *agent.state.refusal.lock() = Some(Status::invalid_argument("allow_list[0].event_set: cannot come"));
    }
    for path in ["flows", "events?forSeconds=1", "events?watch=1"] {
        let (status, error) = relay.admin().get_json(&format!("{API}/{path}")).await;
        assert_eq!(status, 400, "{path}");
        assert_eq!(error["message"], "every node refuses: allow_list[0].event_set: cannot come");
        let (status, error) = relay.admin().get_json(&format!("{API}/namespaces/shop/{path}")).await;
        assert_eq!(status, 400, "{path}");
        assert!(error["message"].as_str().unwrap().starts_with("every node refuses: a selector is"), "{error}");
    }
}

#[tokio::test]
async fn each_agent_is_connected_to_once() {
    let relay = Relay::start().await;
    let admin = relay.admin();
    let path = format!("{API}/namespaces/shop/flows");
    let (one, two, three) = tokio::join!(admin.get(&path), admin.get(&path), admin.get(&path));
    assert_eq!([one.status, two.status, three.status], [200; 3]);
    assert_eq!(*relay.alder.state.connections.lock(), 1);
}
