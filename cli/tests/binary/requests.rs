//! `trilobite requests`: by the read API and from the agents, and what it says where there are none.

use serde_json::{Value, json};
use trilobite_api::{
    json::to_string,
    requests::{GetRequestsResponse, LostRequests, get_requests_response::Response},
};

use crate::{api_server::TestCluster, fake_agent::request_at};

const API: &str = "/apis/read.trilobite.dev/v1alpha1";
const HEADER: &str =
    "TIME                      POD     ROLE    PROTOCOL  PEER          OPERATION  TARGET  STATUS  LATENCY\n";

/// A cluster with the read API, whose user may exec nowhere.
fn cluster() -> TestCluster {
    let cluster = TestCluster::new(&["alder"]);
    let discovery = json!({"kind": "APIResourceList", "groupVersion": "read.trilobite.dev/v1alpha1"});
    cluster.answer(API, 200, discovery.to_string());
    cluster.deny("create pods/exec");
    cluster.deny("list pods");
    cluster
}

fn row(second: u32) -> String {
    format!(
        "1970-01-01T00:00:{second}.000Z  till-1  server  http      shop/front-1  GET        /cart   200     12.0ms\n"
    )
}

fn item(seconds: i64) -> Value {
    let Some(Response::Request(request)) = request_at(seconds).response else { panic!("no request") };
    let object: Value = serde_json::from_str(&to_string(&request)).unwrap();
    json!({"metadata": {"name": request.id, "namespace": "shop", "resourceVersion": seconds.to_string()}, "object": object})
}

fn list(items: &[Value]) -> String {
    let coverage = json!({"nodes": {"asked": 2, "answered": 2, "late": 0, "refused": 0}, "lost": 0});
    json!({"kind": "RequestList", "metadata": {"resourceVersion": "30"}, "items": items, "coverage": coverage})
        .to_string()
}

fn profile(name: &str, conditions: &Value) -> Value {
    json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "AppProfile",
           "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
           "spec": {"podSelector": {}, "requests": {}}, "status": {"conditions": conditions}})
}

#[test]
fn requests_are_a_table_without_a_right_to_exec() {
    let cluster = cluster();
    cluster.answer(&format!("{API}/namespaces/shop/requests"), 200, list(&[item(20), item(30)]));
    let words = ["requests", "-n", "shop", "--slower-than", "100ms", "--errors", "--protocol", "http"];
    let outcome = cluster.execute(&words);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
    assert_eq!(outcome.out, format!("{HEADER}{}{}", row(20), row(30)));
    let asked = format!(
        "{API}/namespaces/shop/requests?slowerThan=100ms&limit=50&fieldSelector=protocol%3Dhttp%2CisError%3Dtrue"
    );
    assert!(cluster.targets().contains(&asked), "{:?}", cluster.targets());
    assert!(!cluster.requests().iter().any(|request| request.contains("exec")), "{:?}", cluster.requests());
    let json = cluster.execute(&["requests", "-n", "shop", "-o", "json", "--limit", "1"]).out;
    let line: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&line["target"], &line["latency"]), (&"/cart".into(), &"0.012s".into()));
    assert_eq!(line["time"], "1970-01-01T00:00:30Z", "the latest");
}

#[test]
fn followed_requests_and_their_losses_are_printed() {
    let cluster = cluster();
    let lost = LostRequests { profile: "shop/slow".into(), place: "budget".into(), count: 7 };
    let lost = GetRequestsResponse { response: Some(Response::Lost(lost)), ..GetRequestsResponse::default() };
    let lost: Value = serde_json::from_str(&to_string(&lost)).unwrap();
    let gone = json!({"kind": "Status", "code": 403, "message": "no more"});
    let lines: String = [
        json!({"type": "ADDED", "object": item(20)}),
        json!({"type": "ADDED", "object": {"metadata": {"name": "l"}, "object": lost}}),
        json!({"type": "ERROR", "object": gone}),
    ]
    .iter()
    .map(|line| line.to_string() + "\n")
    .collect();
    cluster.answer(&format!("{API}/namespaces/shop/requests"), 200, lines);
    let mut command = cluster.command(&["requests", "-n", "shop", "-f"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    let line = |reader: &mut dyn std::io::BufRead| {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    };
    assert_eq!((line(&mut out), line(&mut out)), (HEADER.to_owned(), row(20)));
    let said = line(&mut err);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said, "warning: 7 requests of shop/slow are missing: they left the memory before they were read\n");
}

#[test]
fn without_rows_the_appprofiles_say_why() {
    let cluster = cluster();
    cluster.answer(&format!("{API}/namespaces/shop/requests"), 200, list(&[]));
    let none = cluster.execute(&["requests", "-n", "shop"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert_eq!(
        none.err,
        "no request matches in namespace shop\n\
         no AppProfile asks for requests; e.g. kubectl label namespace shop trilobite.dev/app-profile=http.15m\n"
    );
    let encrypted = json!([{"type": "RowsSeen", "status": "False", "reason": "Encrypted",
        "message": "3 processes of java (jsse)", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    cluster.add("appprofiles", profile("slow", &encrypted));
    let said = cluster.execute(&["requests", "-n", "shop"]).err;
    assert_eq!(
        said,
        "no request matches in namespace shop\nAppProfile shop/slow: Encrypted: 3 processes of java (jsse)\n"
    );
    cluster.deny("list appprofiles");
    let said = cluster.execute(&["requests", "-n", "shop"]).err;
    assert!(said.contains("list appprofiles in namespace shop, which say why: "), "{said}");
    assert!(said.contains("cannot list resource \"appprofiles\""), "{said}");
}

#[test]
fn refusal_names_the_verb_and_requests() {
    for (right, words) in
        [("list requests", vec!["requests", "-n", "bank"]), ("watch requests", vec!["requests", "-n", "bank", "-f"])]
    {
        let cluster = cluster();
        cluster.deny(right);
        let outcome = cluster.execute(&words);
        assert_eq!(outcome.code, Some(1), "{words:?}");
        assert!(outcome.err.contains(&format!("{right} in namespace bank")), "{words:?}: {}", outcome.err);
    }
}

#[test]
fn agents_are_asked_where_the_read_api_is_not_served() {
    let cluster = TestCluster::new(&["alder", "birch"]);
    cluster.agents["alder"].lock().requests = vec![request_at(30), request_at(10)];
    cluster.agents["birch"].lock().requests = vec![request_at(20)];
    let outcome = cluster.execute(&["requests", "-n", "shop"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(outcome.out, format!("{HEADER}{}{}{}", row(10), row(20), row(30)));
    let request = cluster.agents["birch"].lock().requested_requests.clone().unwrap();
    assert_eq!((request.namespaces, request.limit), (vec!["shop".to_owned()], 50));
}
