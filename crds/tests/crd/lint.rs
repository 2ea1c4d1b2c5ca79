//! Properties that every CRD must have.

use serde_json::Value;
use trilobite_crds::schema::{crds, schema_of};

/// Every node of a schema with its path.
fn nodes<'a>(schema: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    found.push((path.into(), schema));
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        nodes(inner, &format!("{path}.{name}"), found);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            nodes(&schema[key], &format!("{path}.{key}"), found);
        }
    }
}

fn offenders(is_bad: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut offenders = Vec::new();
    for crd in crds() {
        let mut found = Vec::new();
        nodes(schema_of(&crd), crd["spec"]["names"]["kind"].as_str().unwrap(), &mut found);
        offenders.extend(found.into_iter().filter(|(_, node)| is_bad(node)).map(|(path, _)| path));
    }
    offenders
}

const NOTHING: [&str; 0] = [];

#[test]
fn nothing_is_nullable() {
    assert_eq!(offenders(|node| node.get("nullable").is_some()), NOTHING);
}

#[test]
fn formats_are_those_that_kubernetes_knows() {
    let known = ["int32", "int64", "date-time"];
    assert_eq!(offenders(|node| node["format"].as_str().is_some_and(|format| !known.contains(&format))), NOTHING);
}

#[test]
fn lists_have_a_type_and_a_maximum() {
    assert_eq!(
        offenders(
            |node| node["type"] == "array" && (node["maxItems"].is_null() || node["x-kubernetes-list-type"].is_null())
        ),
        NOTHING
    );
}

#[test]
fn strings_maps_and_numbers_have_bounds() {
    assert_eq!(
        offenders(|node| match node["type"].as_str() {
            Some("string") => node["maxLength"].is_null() && node["enum"].is_null(),
            Some("integer") => !node["minimum"].is_i64() || !node["maximum"].is_i64(),
            Some("number") => true,
            Some("object") => node["additionalProperties"].is_object() && node["maxProperties"].is_null(),
            _ => false,
        }),
        NOTHING
    );
}

#[test]
fn every_field_is_described() {
    assert_eq!(
        offenders(|node| {
            node["properties"].as_object().into_iter().flatten().any(|(_, field)| field["description"].is_null())
        }),
        NOTHING
    );
}

#[test]
fn plain_kubectl_apply_has_room_for_every_crd() {
    for crd in crds() {
        let bytes = serde_json::to_vec(&crd).unwrap().len();
        assert!(bytes < 150_000, "{} has {bytes} bytes", crd["metadata"]["name"]);
    }
}

#[test]
fn user_kinds_are_in_progress_until_reconciled() {
    for crd in &crds()[..5] {
        let status = &schema_of(crd)["properties"]["status"];
        assert_eq!(status["default"]["observedGeneration"], -1, "{}", crd["metadata"]["name"]);
        assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-map-keys"][0], "type");
        assert!(crd["spec"]["versions"][0]["subresources"]["status"].is_object());
    }
}

#[test]
fn no_list_is_written_empty() {
    for crd in crds() {
        let text = serde_json::to_string(&crd).unwrap();
        assert!(!text.contains(":[]"), "{}", crd["metadata"]["name"]);
    }
}

#[test]
fn short_names_are_long_enough_and_our_own() {
    let mut seen = std::collections::HashSet::new();
    for crd in crds() {
        let name = crd["spec"]["names"]["shortNames"][0].as_str().unwrap().to_string();
        assert!(name.len() >= 3 && seen.insert(name.clone()), "{name}");
    }
}
