//! Profiles of two nodes as one, and their results.

use std::io::Read;

use trilobite_api::profiles::{Profile, ProfileState};

use crate::fixture::{API, Relay};

fn profile(name: &str, node: &str, state: ProfileState) -> Profile {
    Profile {
        name: name.into(),
        node: node.into(),
        state: state.into(),
        samples: 4,
        frequency_hz: 99,
        started: Some(prost_types::Timestamp { seconds: 10, nanos: 0 }),
        ended: Some(prost_types::Timestamp { seconds: 40, nanos: 0 }),
        ..Profile::default()
    }
}

async fn with_two_results() -> Relay {
    let relay = Relay::start().await;
    let done = ProfileState::Done;
    relay.alder.state.profiles.lock().push((profile("shop/dig", "alder", done), "cart-7/app;a;a;main;dig 4\n"));
    relay.birch.state.profiles.lock().push((profile("shop/dig", "birch", done), "cart-8/app;a;a;main;rest 4\n"));
    relay.allow(&[
        "zoe list profiles shop",
        "zoe get profiles shop",
        "zoe watch profiles shop",
        "zoe get profiles/flamegraph shop",
        "zoe get profiles/folded shop",
        "zoe get profiles/pprof shop",
    ]);
    relay
}

#[tokio::test]
async fn profile_of_two_nodes_is_one_object() {
    let relay = with_two_results().await;
    relay.alder.state.profiles.lock().push((profile("bank/dig", "alder", ProfileState::Done), ""));
    let (_, list) = relay.user("zoe").get_json(&format!("{API}/namespaces/shop/profiles")).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "a profile of another namespace is left out");
    let object = &list["items"][0]["object"];
    assert_eq!((&object["state"], &object["samples"]), (&"Done".into(), &8.into()));
    let (status, one) = relay.user("zoe").get_json(&format!("{API}/namespaces/shop/profiles/dig")).await;
    assert_eq!((status, one["object"]["nodes"].as_array().unwrap().len()), (200, 2));
    assert_eq!(relay.user("zoe").get(&format!("{API}/namespaces/shop/profiles/dog")).await.status, 404);
}

#[tokio::test]
async fn results_of_all_nodes_are_merged() {
    let relay = with_two_results().await;
    let zoe = relay.user("zoe");
    let path = format!("{API}/namespaces/shop/profiles/dig");
    let folded = zoe.get(&format!("{path}/folded")).await;
    assert_eq!(
        folded.headers["trilobite-coverage"],
        r#"{"nodes":{"asked":2,"answered":2,"late":0,"refused":0},"lost":0}"#
    );
    assert_eq!(folded.bytes().await, b"cart-7/app;a;a;main;dig 4\ncart-8/app;a;a;main;rest 4\n");
    let picture = zoe.clone().with("accept", "image/svg+xml").get(&format!("{path}/flamegraph")).await;
    assert_eq!(picture.headers["content-type"], "image/svg+xml");
    let svg = String::from_utf8(picture.bytes().await).unwrap();
    assert!(svg.contains("CPU of shop/dig on alder, birch") && svg.contains("dig (4 samples"), "{svg}");
    let pprof = zoe.get(&format!("{path}/pprof")).await.bytes().await;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(pprof.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert!(String::from_utf8_lossy(&unpacked).contains("cart-8"));
    assert_eq!(zoe.get(&format!("{API}/namespaces/shop/profiles/none/folded")).await.status, 404);
}

#[tokio::test]
async fn running_profile_has_no_result_yet() {
    let relay = with_two_results().await;
    relay.birch.state.profiles.lock()[0].0.state = ProfileState::Running.into();
    let path = format!("{API}/namespaces/shop/profiles/dig/flamegraph");
    let (status, body) = relay.user("zoe").get_json(&path).await;
    assert_eq!((status, body["reason"].as_str()), (409, Some("Conflict")));
    assert!(body["message"].as_str().unwrap().contains("still running"), "{body}");
    assert_eq!(body["details"]["retryAfterSeconds"], 5);
}

#[tokio::test]
async fn watch_of_profiles_sends_changes() {
    let relay = with_two_results().await;
    let mut watch = relay.user("zoe").get(&format!("{API}/namespaces/shop/profiles?watch=1")).await;
    let line = watch.line().await.unwrap();
    assert_eq!((line["type"].as_str(), line["object"]["metadata"]["name"].as_str()), (Some("ADDED"), Some("dig")));
    relay.birch.state.profiles.lock()[0].0.samples = 9;
    let line = watch.line().await.unwrap();
    assert_eq!((line["type"].as_str(), &line["object"]["object"]["samples"]), (Some("MODIFIED"), &13.into()));
    relay.alder.state.profiles.lock().clear();
    relay.birch.state.profiles.lock().clear();
    assert_eq!(watch.line().await.unwrap()["type"], "DELETED");
}

#[tokio::test]
async fn result_is_waited_for_and_read_where_it_is() {
    let relay = with_two_results().await;
    relay.birch.state.profiles.lock().clear();
    relay.alder.state.profiles.lock()[0].0.state = ProfileState::Running.into();
    let alder = relay.alder.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        alder.state.profiles.lock()[0].0.state = ProfileState::Done.into();
    });
    let path = format!("{API}/namespaces/shop/profiles/dig/folded?waitSeconds=20");
    let folded = relay.user("zoe").get(&path).await;
    assert_eq!(folded.status, 200);
    assert_eq!(
        folded.headers["trilobite-coverage"],
        r#"{"nodes":{"asked":2,"answered":2,"late":0,"refused":0},"lost":0}"#
    );
    assert_eq!(folded.bytes().await, b"cart-7/app;a;a;main;dig 4\n");
    assert!(relay.birch.state.calls.lock().iter().all(|(_, method)| *method != "Get"));
    assert_eq!(relay.budget.used(), 0);
}

#[tokio::test]
async fn broken_result_of_a_node_is_in_the_coverage() {
    let relay = with_two_results().await;
    relay.birch.state.profiles.lock()[0].1 = "main many\n";
    let folded = relay.user("zoe").get(&format!("{API}/namespaces/shop/profiles/dig/folded")).await;
    assert!(folded.headers["trilobite-coverage"].to_str().unwrap().contains(r#""message":"another version""#));
    assert_eq!(folded.bytes().await, b"cart-7/app;a;a;main;dig 4\n");
}
