//! `trilobite status` of the states that Argo CD's health check and kstatus are tested with: `e2e/gitops/states`, whose conditions
//! are the operator's (operator/src/status/index/state_tests.rs). All say the same of each.

use std::{fs, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Report, ReportStyle,
    build::ClusterObjects,
    golden::{AN_HOUR_LATER, healthy},
    render,
};
use crate::output::paint::Paint;

#[derive(Deserialize)]
struct State {
    /// What Argo CD says of it.
    argo: String,
    /// Words that each reader shows.
    says: String,
    object: Value,
}

fn states() -> Vec<(String, State)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../e2e/gitops/states");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let state = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), state)
        })
        .collect()
}

/// The object as the API server gives it: with a spec, and times in its conditions.
fn object<T: DeserializeOwned>(state: &Value) -> T {
    let mut object = state.clone();
    object["spec"] = match object["kind"].as_str() {
        Some("AppProfile") => json!({ "podSelector": {}, "cpu": {} }),
        Some("FlowCapture") => json!({ "podSelector": {} }),
        _ => json!({}),
    };
    for condition in object.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    }
    serde_json::from_value(object).unwrap()
}

/// A healthy cluster with this object, as it was seen a minute ago, in it.
fn cluster_with(state: &Value) -> ClusterObjects {
    let mut found = healthy();
    match state["kind"].as_str().unwrap() {
        "ObservabilityStack" => {
            let mut stack: trilobite_crds::ObservabilityStack = object(state);
            let status = stack.status.get_or_insert_default();
            status.observed_at.get_or_insert(AN_HOUR_LATER.parse().unwrap());
            found.now = status.observed_at.unwrap();
            found.stacks = Some(vec![stack]);
        }
        "TracingPolicy" => found.policies = Some(vec![object(state)]),
        "TracingPolicyNamespaced" => found.namespaced_policies = Some(vec![object(state)]),
        "FlowCapture" => found.captures = Some(vec![object(state)]),
        "AppProfile" => found.profiles = Some(vec![object(state)]),
        other => panic!("{other} is no kind of ours"),
    }
    found
}

#[test]
fn status_says_what_argo_and_kstatus_say() {
    let states = states();
    assert!(states.len() >= 15, "{}", states.len());
    for (name, State { argo, says, object }) in states {
        let report = Report::new(cluster_with(&object));
        let text = render(&report, ReportStyle { paint: Paint(false), wide: false });
        // What is in order is counted and not described.
        let is_counted = argo == "Healthy" && object["kind"] != "ObservabilityStack";
        assert!(is_counted || text.contains(&says), "{name}: {says:?} is not in\n{text}");
        // A stack that is ready although a few nodes fail is healthy, and the failure is listed all the same.
        if argo == "Degraded" {
            assert!(!report.in_order, "{name}\n{text}");
            assert!(report.wrong.iter().all(|finding| !finding.next.is_empty()), "{name}: no next step\n{text}");
        } else if argo == "Healthy" && name != "few-nodes-fail" {
            assert!(report.in_order, "{name}\n{text}");
        }
    }
}
