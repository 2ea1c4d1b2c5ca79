//! `trilobite status` before clusters that are broken in different ways.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    api_server::{TestCluster, agent_pod, node_runtime},
    run::wait,
};

const LONG_AGO: &str = "2026-01-01T17:15:15Z";

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Two nodes, all ready.
fn healthy() -> TestCluster {
    let cluster = TestCluster::new(&["alder", "birch"]);
    cluster.ready_stack(2, &now());
    cluster
}

fn waiting(reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "agent", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "the kubelet's words"}}}]})
}

#[test]
fn everything_ready_is_0() {
    let outcome = healthy().execute(&["status", "--exit-code"]);
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.out, outcome.err);
    assert!(outcome.out.contains("Stack default: ready, 2/2 nodes"), "{}", outcome.out);
    assert!(outcome.out.ends_with("Everything is in order.\n"), "{}", outcome.out);
}

#[test]
fn without_operator_and_agents_the_stack_is_not_ready() {
    let cluster = healthy();
    cluster.ready_stack(2, LONG_AGO);
    cluster.operator(0, 0);
    cluster.remove_all("pods");
    let outcome = cluster.execute(&["status"]);
    assert_eq!(outcome.code, Some(0), "it was asked for the status alone: {}", outcome.err);
    let first = outcome.out.lines().next().unwrap();
    assert!(first.starts_with("The operator does not run; what follows is from 20"), "{first}");
    assert!(first.ends_with("17:15:15 UTC"), "{first}");
    assert!(!outcome.out.contains("ready, 2/2") && outcome.out.contains("0/2 nodes"), "{}", outcome.out);
    assert!(outcome.out.contains("has 0 replicas"), "{}", outcome.out);
    assert_eq!(cluster.execute(&["status", "--exit-code"]).code, Some(3));
}

#[test]
fn operator_that_crashes_does_not_run_either() {
    let cluster = healthy();
    cluster.operator(1, 0);
    let outcome = cluster.execute(&["status", "--exit-code"]);
    assert_eq!(outcome.code, Some(3));
    assert!(outcome.out.contains("has 0 of 1 replicas available"), "{}", outcome.out);
    assert!(!outcome.out.contains("default: ready"), "{}", outcome.out);
}

#[test]
fn node_without_its_image_is_not_ready() {
    let cluster = healthy();
    cluster.replace("pods", agent_pod("birch", waiting("ImagePullBackOff")));
    let outcome = cluster.execute(&["status", "--exit-code"]);
    assert_eq!(outcome.code, Some(3));
    let row = outcome.out.lines().find(|line| line.starts_with("birch")).unwrap();
    assert!(row.starts_with("birch  no     ImagePullBackOff"), "{row}");
    assert!(outcome.out.contains("Node/birch: ImagePullBackOff"), "{}", outcome.out);
    assert!(outcome.out.contains("describe pod trilobite-node-birch"), "{}", outcome.out);
}

#[test]
fn node_whose_agent_has_no_pod_is_not_ready() {
    let cluster = healthy();
    cluster.add("noderuntimes", node_runtime("cedar"));
    let outcome = cluster.execute(&["status"]);
    assert!(outcome.out.lines().any(|line| line.starts_with("cedar  no     none")), "{}", outcome.out);
    assert!(outcome.out.contains("Node/cedar: NoAgentPod"), "{}", outcome.out);
}

#[test]
fn degraded_stack_is_listed() {
    let cluster = healthy();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()});
    cluster.replace(
        "observabilitystacks",
        json!({"metadata": {"name": "default"}, "spec": {}, "status": {"readyNodes": "2/2", "observedAt": now(),
            "conditions": [condition("Ready", "True", "Ready", ""),
                           condition("Degraded", "True", "NoMatchingNodes", "nodeSelector matches no node")]}}),
    );
    let outcome = cluster.execute(&["status", "--exit-code"]);
    assert_eq!(outcome.code, Some(3));
    assert!(outcome.out.contains("NoMatchingNodes\n    what:  nodeSelector matches no node"), "{}", outcome.out);
}

#[test]
fn one_forbidden_list_does_not_end_the_status() {
    for (right, said) in [
        ("list pods", "list pods in namespace trilobite-system"),
        ("list flowcaptures", "list flowcaptures.trilobite.dev in the cluster"),
        ("list deployments", "list deployments.apps in namespace trilobite-system"),
    ] {
        let cluster = healthy();
        cluster.deny(right);
        let outcome = cluster.execute(&["status"]);
        assert_eq!(outcome.code, Some(0), "{right}: {}", outcome.err);
        assert!(outcome.out.contains("Could not be read:") && outcome.out.contains(said), "{}", outcome.out);
        assert!(outcome.out.contains("Stack default: "), "{}", outcome.out);
        assert_eq!(cluster.execute(&["status", "--exit-code"]).code, Some(3), "{right}");
    }
}

#[test]
fn kind_that_the_cluster_does_not_know_does_not_end_the_status() {
    let cluster = healthy();
    cluster.forget("tracingpolicies");
    let outcome = cluster.execute(&["status"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.out.contains("tracingpolicies.trilobite.dev in the cluster"), "{}", outcome.out);
    assert!(outcome.out.contains("kubectl apply -k config/default"), "{}", outcome.out);
}

#[test]
fn status_without_any_right_fails() {
    let cluster = healthy();
    for kind in ["deployments", "pods", "observabilitystacks", "tracingpolicies", "tracingpoliciesnamespaced"] {
        cluster.deny(&format!("list {kind}"));
    }
    for kind in ["flowcaptures", "appprofiles", "noderuntimes"] {
        cluster.deny(&format!("list {kind}"));
    }
    let outcome = cluster.execute(&["status"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.out);
    assert!(outcome.err.contains("ask for a role that allows it"), "{}", outcome.err);
}

#[test]
fn next_steps_name_the_namespace_that_was_given() {
    let cluster = healthy();
    let outcome = cluster.execute(&["status", "--trilobite-namespace", "fossils"]);
    let next: Vec<&str> = outcome.out.lines().filter(|line| line.contains("next:")).collect();
    assert!(!next.is_empty(), "{}", outcome.out);
    assert!(!outcome.out.contains("trilobite-system"), "{}", outcome.out);
    let events = cluster.execute(&["events", "--trilobite-namespace", "fossils"]);
    assert!(events.err.contains("'trilobite status --trilobite-namespace fossils'"), "{}", events.err);
}

#[test]
fn formats_are_those_of_kubectl() {
    let cluster = healthy();
    let json: Value = serde_json::from_str(&cluster.execute(&["status", "-o", "json"]).out).unwrap();
    let yaml: Value = serde_yaml::from_str(&cluster.execute(&["status", "-o", "yaml"]).out).unwrap();
    assert_eq!(json, yaml);
    assert_eq!((&json["inOrder"], &json["operator"]["running"]), (&json!(true), &json!(true)));
    assert_eq!(json["nodes"][0]["podState"], "Running");
    let wide = cluster.execute(&["status", "-o", "wide"]).out;
    assert!(wide.contains("POD NAME") && wide.contains("trilobite-node-alder"), "{wide}");
    assert!(!cluster.execute(&["status"]).out.contains("POD NAME"));
}

#[test]
fn watch_prints_again_when_something_changes() {
    let cluster = healthy();
    let mut child = cluster.command(&["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "Everything is in order."));
    cluster.operator(0, 0);
    assert!(lines.any(|line| line.starts_with("The operator does not run")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn watch_with_exit_code_ends_once_everything_is_ready() {
    let cluster = healthy();
    cluster.operator(1, 0);
    let mut child = cluster.command(&["status", "--watch", "--exit-code"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "Not in order:"));
    cluster.operator(1, 1);
    assert!(lines.any(|line| line == "Everything is in order."));
    assert_eq!(wait(&mut child), Some(0));
}
