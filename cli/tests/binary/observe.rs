//! `trilobite observe`: its flags reach every agent, and each flow is a line.

use trilobite_api::flow::{TrafficDirection, Verdict};

use crate::{api_server::TestCluster, fake_agent::flow_at};

fn cluster() -> TestCluster {
    let cluster = TestCluster::new(&["alder", "birch"]);
    cluster.agents["alder"].lock().flows = vec![flow_at(30), flow_at(10)];
    cluster.agents["birch"].lock().flows = vec![flow_at(20)];
    cluster
}

#[test]
fn each_flow_of_all_nodes_is_a_line_in_the_order_of_time() {
    let cluster = cluster();
    let outcome = cluster.execute(&["observe", "--print-node-name"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(
        outcome.out,
        "Jan  1 00:00:10.000 [alder]: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n\
         Jan  1 00:00:20.000 [alder]: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n\
         Jan  1 00:00:30.000 [alder]: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n"
    );
    assert_eq!(cluster.execute(&["flows"]).out, cluster.execute(&["observe"]).out, "another name of the same");
    assert_eq!(cluster.execute(&["observe", "--last", "1", "-o", "jsonpb"]).out.lines().count(), 1);
}

#[test]
fn filters_of_hubble_reach_every_agent() {
    let cluster = cluster();
    let words = ["observe", "--port", "443", "--ip", "FD00:0::7", "--verdict", "FORWARDED", "--since", "5m"];
    let more = ["--traffic-direction", "egress", "--protocol", "TCP", "--node", "birch"];
    let outcome = cluster.execute(&[words.as_slice(), &more].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(cluster.agents["alder"].lock().requested_flows.is_none(), "another node was asked");
    let request = cluster.agents["birch"].lock().requested_flows.clone().unwrap();
    let age = jiff::Timestamp::now().as_second() - request.since.unwrap().seconds;
    assert!((290..400).contains(&age), "since {age} s ago");
    assert_eq!(request.number, 0, "all since then");
    assert_eq!(request.whitelist.len(), 4, "port and address may each be at either end");
    for filter in &request.whitelist {
        assert_eq!(filter.verdict, [i32::from(Verdict::Forwarded)]);
        assert_eq!(filter.traffic_direction, [i32::from(TrafficDirection::Egress)]);
        assert_eq!(filter.protocol, ["tcp"]);
        assert_eq!([&filter.source_port[..], &filter.destination_port[..]].concat(), ["443"]);
        assert_eq!([&filter.source_ip[..], &filter.destination_ip[..]].concat(), ["fd00::7"]);
    }
}

#[test]
fn flat_flow_has_its_fields_at_the_top() {
    let cluster = cluster();
    let outcome = cluster.execute(&["observe", "--last", "1", "-o", "flow"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let flow: serde_json::Value = serde_json::from_str(outcome.out.trim()).unwrap();
    let at = |pointer| flow.pointer(pointer).and_then(serde_json::Value::as_str);
    assert_eq!((at("/source/pod_name"), at("/verdict"), at("/flow")), (Some("till-1"), Some("FORWARDED"), None));
    let block = cluster.execute(&["observe", "--last", "1", "-o", "dict"]).out;
    assert!(block.contains("     SOURCE: shop/till-1\nDESTINATION: shop/shelf-1\n"), "{block}");
}

#[test]
fn no_http_flow_and_the_answer_says_what_to_label() {
    let cluster = TestCluster::new(&["alder"]);
    let outcome = cluster.execute(&["observe", "--protocol", "http"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), ""), "{}", outcome.err);
    assert!(outcome.err.contains("trilobite.dev/app-profile=http.15m"), "{}", outcome.err);
    let request = cluster.agents["alder"].lock().requested_flows.clone().unwrap();
    assert_eq!(request.whitelist[0].protocol, ["http"]);
}
