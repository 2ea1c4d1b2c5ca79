//! Every CEL rule has a sample that it accepts and one that it refuses; the same files are applied to a real API server.
//! A sample's first line says what it shows, `# refused: words of the message` or `# accepted: ...`.

use std::{collections::BTreeSet, fs};

use kube::core::cel::Validator;
use serde_json::{Value, json};
use trilobite_crds::schema::{check, crds, schema_of};

use super::repository;

/// A document of a sample: what stood before, if it is a change, and what is asked for.
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
        .collect()
}

fn crd_of(object: &Value) -> Value {
    let of_kind = |crd: &Value| crd["spec"]["names"]["kind"] == object["kind"];
    crds().into_iter().find(of_kind).unwrap_or_else(|| panic!("no CRD of kind {}", object["kind"]))
}

/// All that the API server would say, as far as schema and rules go.
fn verdict(sample: &Sample) -> Vec<String> {
    let crd = crd_of(&sample.object);
    let schema = schema_of(&crd);
    let spec = check(&schema["properties"]["spec"], &sample.object["spec"], "spec");
    let mut said: Vec<String> = spec.iter().map(ToString::to_string).collect();
    if said.is_empty()
        && let Err(errors) = Validator::new().validate(schema, &sample.object, sample.old.as_ref())
    {
        said.push(errors.to_string());
    }
    said
}

#[test]
fn accepted_samples_are_accepted() {
    for sample in samples("crds/samples/accepted").iter().chain(&samples("config/samples")) {
        assert_eq!(verdict(sample), [""; 0], "{}", sample.name);
    }
}

#[test]
fn refused_samples_are_refused_with_the_words_that_they_announce() {
    for sample in samples("crds/samples/refused") {
        let expected = sample.first_line.strip_prefix("# refused: ").unwrap_or_else(|| panic!("{}", sample.name));
        let said = verdict(&sample);
        assert!(
            said.iter().any(|words| words.contains(expected)),
            "{}: expected {expected:?} in {said:?}",
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
fn what_kubernetes_compares_with_nothing_is_left_alone() {
    // A transition rule says nothing about an object that is new.
    let crd = crd_of(&json!({"kind": "AppProfile"}));
    let object = json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}, "cpu": {}}});
    assert!(Validator::new().validate(schema_of(&crd), &object, None).is_ok());
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
