//! Properties that every CRD must have.

use serde_json::Value;
use trilobite_crds::schema::{cilium_crds, crds, schema_of};

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
    let undescribed = offenders(|node| {
        node["properties"].as_object().into_iter().flatten().any(|(_, field)| field["description"].is_null())
    });
    // These repeat the fields of `kprobes`, which are described.
    let repeats = |path: &String| {
        [".args.", ".data.", ".returnArg", ".selectors.", ".selectorsMacros."].iter().any(|field| path.contains(field))
    };
    let undescribed: Vec<_> = undescribed.into_iter().filter(|path| !repeats(path)).collect();
    assert_eq!(undescribed, NOTHING);
}

#[test]
fn fields_without_descriptions_are_those_of_kprobes() {
    fn bare(schema: &Value) -> Value {
        let mut schema = schema.clone();
        if let Some(fields) = schema.as_object_mut() {
            fields.remove("description");
            fields.values_mut().for_each(|inner| *inner = bare(inner));
        }
        schema
    }
    let crds = crds();
    let spec = &schema_of(&crds[1])["properties"]["spec"]["properties"];
    let kprobe = &spec["kprobes"]["items"]["properties"];
    let mut compared = 0;
    for section in ["fentries", "tracepoints", "uprobes", "usdts", "lsmhooks"] {
        for field in ["args", "data", "returnArg", "selectors"] {
            let other = &spec[section]["items"]["properties"][field];
            if !other.is_null() {
                assert_eq!(bare(other), bare(&kprobe[field]), "{section}.{field}");
                compared += 1;
            }
        }
    }
    let described = |node: &Value| !node["properties"]["index"]["description"].is_null();
    assert!(compared >= 14 && described(&kprobe["args"]["items"]) && described(&kprobe["returnArg"]));
    assert_eq!(bare(&spec["selectorsMacros"]["additionalProperties"]), bare(&kprobe["selectors"]["items"]));
}

#[test]
fn plain_kubectl_apply_has_room_for_every_crd() {
    for crd in crds().into_iter().chain(cilium_crds()) {
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
