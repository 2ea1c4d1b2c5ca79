//! Commands that read go through the read API where the cluster serves it, with the rights of the user and no others.

use serde_json::{Value, json};
use trilobite_api::json::{JsonMessage, to_string};

use crate::{
    api_server::{TestCluster, completed},
    fake_agent::{exec_in, flow_at},
};

const API: &str = "/apis/read.trilobite.dev/v1alpha1";

/// A cluster with the read API, whose user may exec nowhere.
fn cluster() -> TestCluster {
    let cluster = TestCluster::new(&["alder"]);
    cluster.answer(
        API,
        200,
        json!({"kind": "APIResourceList", "groupVersion": "read.trilobite.dev/v1alpha1"}).to_string(),
    );
    cluster.deny("create pods/exec");
    cluster.deny("list pods");
    cluster
}

fn object<M: JsonMessage>(message: &M, position: &str) -> Value {
    let object: Value = serde_json::from_str(&to_string(message)).unwrap();
    let name = format!("row-{position}");
    json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": position}, "object": object})
}

fn watch_lines(lines: &[(&str, Value)]) -> String {
    lines.iter().map(|(kind, object)| json!({"type": kind, "object": object}).to_string() + "\n").collect()
}

fn flows(coverage: Value) -> String {
    let items = [object(&flow_at(20), "2"), object(&flow_at(30), "3")];
    json!({"kind": "FlowList", "metadata": {"resourceVersion": "3"}, "items": items, "coverage": coverage}).to_string()
}

fn complete() -> Value {
    json!({"nodes": {"asked": 2, "answered": 2, "late": 0, "refused": 0}, "lost": 0})
}

#[test]
fn flows_are_listed_without_a_right_to_exec() {
    let cluster = cluster();
    cluster.answer(&format!("{API}/namespaces/shop/flows"), 200, flows(complete()));
    let outcome = cluster.execute(&["observe", "-n", "shop", "--last", "7", "-v"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(
        outcome.out,
        "Jan  1 00:00:20.000: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n\
         Jan  1 00:00:30.000: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n"
    );
    assert_eq!(outcome.err, "reading through the API server: read.trilobite.dev\n");
    assert!(cluster.targets().contains(&format!("{API}/namespaces/shop/flows?limit=7")), "{:?}", cluster.targets());
    assert!(!cluster.requests().iter().any(|request| request.contains("exec")), "{:?}", cluster.requests());
    let json = cluster.execute(&["observe", "-n", "shop", "-o", "json"]).out;
    assert_eq!(json.lines().next(), Some(to_string(&flow_at(20)).as_str()), "Hubble's own JSON");
}

#[test]
fn answer_that_is_not_complete_says_what_is_missing() {
    let cluster = cluster();
    let coverage = json!({"nodes": {"asked": 2, "answered": 1, "late": 1, "refused": 0}, "lost": 3,
        "problems": [{"node": "birch", "state": "late", "message": ""}]});
    cluster.answer(&format!("{API}/namespaces/shop/flows"), 200, flows(coverage));
    let outcome = cluster.execute(&["observe", "-n", "shop"]);
    assert_eq!((outcome.code, outcome.out.lines().count()), (Some(0), 2));
    assert_eq!(outcome.err, "warning: nodes: 2 asked, 1 answered, birch late, 3 rows lost\n");
}

#[test]
fn events_are_watched_and_a_gap_is_reported() {
    let cluster = cluster();
    let gone = json!({"kind": "Status", "code": 410, "message": "7 rows were lost"});
    let coverage = json!({"nodes": {"asked": 2, "answered": 1, "late": 1, "refused": 0}}).to_string();
    let bookmark = json!({"metadata": {"resourceVersion": "8", "annotations": {"trilobite.dev/coverage": coverage}}});
    let lines =
        watch_lines(&[("ADDED", object(&exec_in("shop", "till-1"), "5")), ("BOOKMARK", bookmark), ("ERROR", gone)]);
    cluster.answer(&format!("{API}/namespaces/shop/events"), 200, lines);
    let outcome = cluster.execute(&["events", "-n", "shop", "--type", "exec", "--count", "2"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let line = "🚀 process shop/till-1 /bin/fossil dig\n";
    assert_eq!(outcome.out, line.repeat(2));
    assert!(outcome.err.contains("nodes: 2 asked, 1 answered, 1 late"), "{}", outcome.err);
    assert!(outcome.err.contains("events are missing: 7 rows were lost"), "{}", outcome.err);
    let watches: Vec<String> = cluster.targets().into_iter().filter(|target| target.contains("watch=true")).collect();
    assert_eq!(watches.len(), 2, "{watches:?}");
    assert!(watches.iter().all(|watch| watch.contains("fieldSelector=event%3Dexec")), "{watches:?}");
    assert!(watches.iter().all(|watch| !watch.contains("resourceVersion")), "after a gap from now on: {watches:?}");
}

#[test]
fn end_of_a_watch_without_positions_is_a_gap() {
    let cluster = cluster();
    let lines = watch_lines(&[("ADDED", object(&exec_in("shop", "till-1"), ""))]);
    cluster.answer(&format!("{API}/namespaces/shop/events"), 200, lines);
    let outcome = cluster.execute(&["events", "-n", "shop", "--count", "2"]);
    assert!(outcome.err.contains("events are missing: the server has ended the watch"), "{}", outcome.err);
}

#[test]
fn watch_that_ends_goes_on_from_where_it_was() {
    let cluster = cluster();
    let rows = |pods: &[&str]| -> String {
        let positions = ["4", "5"];
        let row = |(pod, position): (&&str, &&str)| ("ADDED", object(&exec_in("shop", pod), position));
        watch_lines(&pods.iter().zip(&positions).map(row).collect::<Vec<_>>())
    };
    cluster.answer(&format!("{API}/namespaces/shop/events"), 200, rows(&["till-1", "till-2"]));
    let outcome = cluster.execute(&["events", "-n", "shop", "--for", "3s"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
    let shown: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(shown, ["🚀 process shop/till-1 /bin/fossil dig", "🚀 process shop/till-2 /bin/fossil dig"]);
    let watches: Vec<String> = cluster.targets().into_iter().filter(|target| target.contains("watch=true")).collect();
    assert!(watches.len() > 1 && watches[1..].iter().all(|watch| watch.contains("resourceVersion=5")), "{watches:?}");
}

#[test]
fn refusal_names_the_verb_and_the_resource() {
    for (right, words) in [
        ("list flows", vec!["observe", "-n", "bank"]),
        ("watch flows", vec!["observe", "-n", "bank", "-f"]),
        ("watch events", vec!["events", "-n", "bank"]),
    ] {
        let cluster = cluster();
        cluster.deny(right);
        let outcome = cluster.execute(&words);
        let (verb, resource) = right.split_once(' ').unwrap();
        assert_eq!(outcome.code, Some(1), "{words:?}");
        let said = format!("User \"till\" cannot {verb} resource \"{resource}\"");
        assert!(outcome.err.contains(&said), "{words:?}: {}", outcome.err);
        assert!(outcome.err.contains(&format!("{right} in namespace bank")), "{words:?}: {}", outcome.err);
    }
    let cluster = cluster();
    cluster.deny("watch events");
    let everywhere = cluster.execute(&["events"]).err;
    assert!(everywhere.contains("watch events of all namespaces (-n names one)"), "{everywhere}");
}

#[test]
fn agents_are_read_where_the_api_is_not_served() {
    for (code, why) in
        [(404, "the cluster does not serve read.trilobite.dev"), (503, "read.trilobite.dev does not answer")]
    {
        let cluster = TestCluster::new(&["alder"]);
        cluster.agents["alder"].lock().flows = vec![flow_at(10)];
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "no relay", "reason": "x", "code": code});
        cluster.answer(API, code, status.to_string());
        let outcome = cluster.execute(&["observe", "-v"]);
        assert_eq!((outcome.code, outcome.out.lines().count()), (Some(0), 1), "{}", outcome.err);
        let said = "reading from the agents by pods/exec in namespace trilobite-system: ";
        assert!(outcome.err.starts_with(&format!("{said}{why}")), "{}", outcome.err);
        assert_eq!(cluster.execute(&["observe"]).err, "", "only said with -v");
    }
}

/// The profile of the pod, whatever its name.
fn with_profile(cluster: &TestCluster) {
    let state = json!({"metadata": {"name": "slow", "namespace": "shop"}, "object": {"name": "shop/slow", "state": "Done",
        "samples": 42, "lost": 0, "nodes": [{"node": "alder", "frequencyHz": 49, "samples": 42,
        "started": "1970-01-01T00:00:10Z", "ended": "1970-01-01T00:00:20Z"}]}});
    cluster.answer(&format!("{API}/namespaces/shop/profiles/slow"), 200, state.to_string());
    cluster.answer(&format!("{API}/namespaces/shop/profiles/slow/folded"), 200, "main;dig 42\n");
    cluster.add(
        "appprofiles",
        json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "AppProfile",
               "metadata": {"name": "slow", "namespace": "shop", "creationTimestamp": jiff::Timestamp::now().to_string()},
               "spec": {"podSelector": {}, "cpu": {}}, "status": completed()}),
    );
}

#[test]
fn profile_is_fetched_by_the_read_api_and_drawn() {
    let cluster = cluster();
    with_profile(&cluster);
    let svg = cluster.folder.path().join("slow.svg");
    let outcome = cluster.execute(&["profile", "--name", "shop/slow", "-o", svg.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(std::fs::read_to_string(&svg).unwrap().contains("dig"), "the flame graph has no frame");
    assert!(
        outcome.err.contains("CPU of shop/slow on alder: 0.09 CPUs, 42 samples at 49 Hz in 10.0 s"),
        "{}",
        outcome.err
    );
}

#[test]
fn profile_needs_the_rights_of_the_read_api() {
    for (right, said) in [
        ("get profiles", "get profiles.read.trilobite.dev in namespace shop"),
        ("get profiles/folded", "get profiles/folded.read.trilobite.dev in namespace shop"),
    ] {
        let cluster = cluster();
        with_profile(&cluster);
        cluster.deny(right);
        let outcome = cluster.execute(&["profile", "--name", "shop/slow"]);
        assert_eq!(outcome.code, Some(1), "{right}");
        assert!(outcome.err.contains(said), "{right}: {}", outcome.err);
    }
}

#[test]
fn profile_without_a_result_says_so_in_the_relays_words() {
    let cluster = cluster();
    with_profile(&cluster);
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "no node has a result of profile slow", "reason": "NotFound", "code": 404});
    cluster.answer(&format!("{API}/namespaces/shop/profiles/slow/folded"), 404, status.to_string());
    let outcome = cluster.execute(&["profile", "--name", "shop/slow"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("no node has a result of profile slow"), "{}", outcome.err);
}
