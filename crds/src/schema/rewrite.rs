//! From the schema that the derive emits to one that Kubernetes accepts without warnings: no `nullable`, no unsigned
//! formats, whole numbers, list types, and bounds on the types of Kubernetes itself, whose schemas have none.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use crate::{bounds, selector};

/// Rewrites the whole CRD.
pub(super) fn crd(crd: CustomResourceDefinition) -> Value {
    // A CustomResourceDefinition has string keys and no failing serializer.
    let mut crd = serde_json::to_value(crd).unwrap_or_default();
    node(&mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    crd["metadata"]["labels"] = json!({ "app.kubernetes.io/part-of": "trilobite" });
    crd
}

/// Makes kstatus report InProgress until the operator has reconciled the resource.
pub(super) fn unobserved(mut crd: Value) -> Value {
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] =
        json!({ "observedGeneration": -1 });
    crd
}

fn node(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("nullable");
    if is_label_selector(map) {
        label_selector(map);
        return;
    }
    whole_numbers(map);
    signed_format(map);
    counts(map);
    int_or_string(map);
    if map.get("type") == Some(&json!("array")) {
        map.entry("x-kubernetes-list-type").or_insert(json!("atomic"));
    }
    if map.contains_key("x-kubernetes-preserve-unknown-fields") {
        map.remove("additionalProperties");
    }
    for inner in ["items", "additionalProperties"] {
        map.get_mut(inner).into_iter().for_each(node);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(node);
    }
    // Values of a map of strings are values of node labels, or have a bound of their own.
    if let Some(Value::Object(values)) = map.get_mut("additionalProperties")
        && values.get("type") == Some(&json!("string"))
    {
        values.entry("maxLength").or_insert(json!(bounds::MAX_MAP_VALUE));
    }
}

fn is_label_selector(map: &Map<String, Value>) -> bool {
    let properties = &map.get("properties");
    properties.is_some_and(|fields| fields.get("matchLabels").is_some() && fields.get("matchExpressions").is_some())
}

fn label_selector(map: &mut Map<String, Value>) {
    map.insert(
        "properties".into(),
        json!({
            "matchExpressions": {
                "description": "Expressions that must all hold, e.g. `[{key: app, operator: In, values: [checkout]}]`.",
                "type": "array",
                "maxItems": selector::MAX_REQUIREMENTS,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "description": "Key of the label, e.g. `app`.", "type": "string", "minLength": 1, "maxLength": selector::MAX_KEY },
                        "operator": { "description": "How the label's value is compared: In, NotIn, Exists or DoesNotExist.", "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
                        "values": { "description": "Values to compare with; only for In and NotIn.", "type": "array", "maxItems": selector::MAX_VALUES,
                            "x-kubernetes-list-type": "atomic", "items": { "type": "string", "maxLength": selector::MAX_VALUE } },
                    },
                },
            },
            "matchLabels": {
                "description": "Labels that must all exist with these values, e.g. `app: checkout`.",
                "type": "object",
                "maxProperties": selector::MAX_REQUIREMENTS,
                "additionalProperties": { "type": "string", "maxLength": selector::MAX_VALUE },
            },
        }),
    );
    map.insert("x-kubernetes-map-type".into(), json!("atomic"));
}

/// The derive writes bounds as `65535.0`.
fn whole_numbers(map: &mut Map<String, Value>) {
    for bound in ["minimum", "maximum"] {
        if let Some(value) = map.get_mut(bound)
            && let Some(float) = value.as_f64()
            && float.fract() == 0.0
            && float.abs() <= bounds::MAX_COUNT as f64
        {
            *value = json!(float as i64);
        }
    }
}

/// Kubernetes knows int32 and int64 only, and warns of any other format at each apply.
fn signed_format(map: &mut Map<String, Value>) {
    let Some(format) = map.get("format").and_then(Value::as_str) else { return };
    let (format, highest) = match format {
        "uint8" => ("int32", Some(u8::MAX.into())),
        "uint16" => ("int32", Some(u16::MAX.into())),
        "uint32" => ("int64", Some(u32::MAX.into())),
        "uint64" | "uint" => ("int64", None),
        _ => return,
    };
    map.insert("format".into(), json!(format));
    if let Some(highest) = highest {
        let highest: i64 = highest;
        map.entry("maximum").or_insert(json!(highest));
    }
}

/// A number without bounds is a count.
fn counts(map: &mut Map<String, Value>) {
    if map.get("type") == Some(&json!("integer")) {
        let highest = if map.get("format") == Some(&json!("int32")) { i64::from(i32::MAX) } else { bounds::MAX_COUNT };
        map.entry("minimum").or_insert(json!(0));
        map.entry("maximum").or_insert(json!(highest));
    }
}

/// Either an integer or a string; a `type` would forbid the other.
fn int_or_string(map: &mut Map<String, Value>) {
    if map.contains_key("x-kubernetes-int-or-string") {
        for other in ["type", "format", "anyOf", "oneOf"] {
            map.remove(other);
        }
    }
}
