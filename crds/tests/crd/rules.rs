//! Every CEL rule has a sample that it accepts and one that it refuses; the same files are applied to a real API server.
//! The first line of a sample says what it shows: `# refused: part of the message` or `# accepted: ...`.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, Violation,
    node::{NodeProfile, NodeRuntime, ProfilePart},
    schema::{crds, read, schema_of},
};

use super::repository;

/// A sample: the object, and its old state if the sample is a change.
struct Sample {
    name: String,
    first_line: String,
    old: Option<Value>,
    object: Value,
}

fn samples(directory: &str) -> Vec<Sample> {
    let mut paths: Vec<_> = fs::read_dir(repository(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let mut documents: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
                .map(|document| serde::Deserialize::deserialize(document).unwrap())
                .collect();
            Sample {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                first_line: text.lines().next().unwrap().into(),
                object: documents.pop().unwrap(),
                old: documents.pop(),
            }
        })
        // Beside them are a kustomization and a quota.
        .filter(|sample| {
            sample.object["apiVersion"].as_str().is_some_and(|version| version.starts_with("trilobite.dev/"))
        })
        .collect()
}

fn crd_of(object: &Value) -> Value {
    let of_kind = |crd: &Value| crd["spec"]["names"]["kind"] == object["kind"];
    crds().into_iter().find(of_kind).unwrap_or_else(|| panic!("no CRD of kind {}", object["kind"]))
}

/// Everything that the API server would refuse.
fn violations(sample: &Sample) -> Vec<String> {
    let crd = crd_of(&sample.object);
    let (object, old) = (&sample.object, sample.old.as_ref());
    let violations: Vec<Violation> = match object["kind"].as_str().unwrap() {
        "ObservabilityStack" => read::<ObservabilityStack>(&crd, object, old).err(),
        "TracingPolicy" => read::<TracingPolicy>(&crd, object, old).err(),
        "TracingPolicyNamespaced" => read::<TracingPolicyNamespaced>(&crd, object, old).err(),
        "FlowCapture" => read::<FlowCapture>(&crd, object, old).err(),
        "AppProfile" => read::<AppProfile>(&crd, object, old).err(),
        "ProfilePart" => read::<ProfilePart>(&crd, object, old).err(),
        "NodeProfile" => read::<NodeProfile>(&crd, object, old).err(),
        _ => read::<NodeRuntime>(&crd, object, old).err(),
    }
    .unwrap_or_default();
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn accepted_samples_are_accepted() {
    for sample in samples("crds/samples/accepted").iter().chain(&samples("config/samples")) {
        assert_eq!(violations(sample), [""; 0], "{}", sample.name);
    }
}

#[test]
fn refused_samples_are_refused_as_announced() {
    for sample in samples("crds/samples/refused") {
        let expected = sample.first_line.strip_prefix("# refused: ").unwrap_or_else(|| panic!("{}", sample.name));
        let found = violations(&sample);
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{}: expected {expected:?} in {found:?}",
            sample.name
        );
    }
}

#[test]
fn every_rule_has_a_refused_and_an_accepted_sample() {
    let announced: BTreeSet<String> = samples("crds/samples/refused")
        .into_iter()
        .map(|sample| sample.first_line.replace("# refused: ", ""))
        .collect();
    let accepted: BTreeSet<String> = samples("crds/samples/accepted")
        .iter()
        .chain(&samples("config/samples"))
        .map(|sample| sample.object["kind"].to_string())
        .collect();
    for crd in crds() {
        let mut messages = Vec::new();
        rules(schema_of(&crd), &mut messages);
        for message in &messages {
            assert!(
                announced.iter().any(|words| message.contains(words.as_str())),
                "no refused sample for {message:?}"
            );
        }
        let kind = &crd["spec"]["names"]["kind"];
        assert!(messages.is_empty() || accepted.contains(&kind.to_string()), "no accepted sample of {kind}");
    }
}

#[test]
fn transition_rules_ignore_new_objects() {
    let crd = crd_of(&json!({"kind": "AppProfile"}));
    let object = json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}, "cpu": {}}});
    assert!(read::<AppProfile>(&crd, &object, None).is_ok());
}

fn rules(schema: &Value, messages: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        messages.push(rule["message"].as_str().unwrap().into());
    }
    for inner in schema["properties"].as_object().into_iter().flat_map(|fields| fields.values()) {
        rules(inner, messages);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            rules(&schema[key], messages);
        }
    }
}
