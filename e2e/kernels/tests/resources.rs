//! What the smoke tests apply is what the resource types know. That an agent carries it out is for the smoke tests to show.

use std::{fs, path::Path};

use serde_json::Value;
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy,
    policy::{TracingPolicySpec, check::check},
};

/// Read by its type and written again: what the type does not know is gone then.
fn known(resource: &Value) -> Value {
    fn through<T: serde::de::DeserializeOwned + serde::Serialize>(resource: &Value) -> Value {
        let typed: T = serde_json::from_value(resource.clone()).expect("the type reads the resource");
        serde_json::to_value(typed).expect("the type writes what it read")
    }
    match resource["kind"].as_str().expect("a resource has a kind") {
        "ObservabilityStack" => through::<ObservabilityStack>(resource),
        "TracingPolicy" => through::<TracingPolicy>(resource),
        "FlowCapture" => through::<FlowCapture>(resource),
        "AppProfile" => through::<AppProfile>(resource),
        other => panic!("no smoke test has a {other}"),
    }
}

/// The first path of `written` that `read` does not have with the same value.
fn lost(path: &str, written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            read.get(key).map_or(Some(path.clone()), |read| lost(&path, value, read))
        }),
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => written
            .iter()
            .zip(read)
            .enumerate()
            .find_map(|(n, (written, read))| lost(&format!("{path}[{n}]"), written, read)),
        _ => (written != read).then(|| path.to_owned()),
    }
}

#[test]
fn every_field_of_the_smoke_tests_resources_is_a_field_of_its_kind() {
    let mut resources = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("smoke")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        for document in fs::read_to_string(&path).unwrap().split("\n---\n") {
            let resource: Value = serde_yaml::from_str(document).unwrap();
            if resource["apiVersion"] == "cilium.io/v1alpha1" {
                // As it is written for Tetragon, with values that are defaults here.
                let spec: TracingPolicySpec = serde_json::from_value(resource["spec"].clone()).unwrap();
                check(&spec, false).unwrap_or_else(|faults| panic!("{faults:?} in {}", path.display()));
            } else {
                assert_eq!(resource["apiVersion"], "trilobite.dev/v1alpha1");
                assert_eq!(lost("", &resource, &known(&resource)), None, "in {}", path.display());
            }
            resources += 1;
        }
    }
    assert!(resources >= 50, "{resources}");
}
