//! An object against a CRD's schema, as the API server would judge it, for objects that come from files.
//! Knows the part of OpenAPI that our CRDs use; CEL rules are not evaluated here.

use std::{collections::HashSet, fmt};

use regex_lite::Regex;
use serde_json::{Map, Value};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// As `spec.ports[0]`.
    pub field: String,
    /// What it must be.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that is wrong with `value`, which stands at `field`.
pub fn check(schema: &Value, value: &Value, field: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    Check { found: &mut found }.node(schema, value, field);
    found
}

struct Check<'a> {
    found: &'a mut Vec<Violation>,
}

impl Check<'_> {
    fn must(&mut self, field: &str, message: impl Into<String>) {
        self.found.push(Violation { field: field.into(), message: message.into() });
    }

    fn node(&mut self, schema: &Value, value: &Value, field: &str) {
        if schema["x-kubernetes-int-or-string"] == true {
            // As in OpenAPI: a pattern is about strings, a bound about numbers.
            return match value {
                Value::String(text) => self.string(schema, text, field),
                Value::Number(number) if number.is_i64() => {
                    self.integer(schema, number.as_i64().unwrap_or_default(), field);
                }
                _ => self.must(field, "must be an integer or a string"),
            };
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(map)) => self.object(schema, map, field),
            (Some("array"), Value::Array(items)) => self.array(schema, items, field),
            (Some("string"), Value::String(text)) => self.string(schema, text, field),
            (Some("integer"), Value::Number(number)) => match number.as_i64() {
                Some(number) => self.integer(schema, number, field),
                None => self.must(field, format!("{number} must be a whole number of 64 bits")),
            },
            (Some("boolean"), Value::Bool(_)) | (None, _) => {}
            (Some(wanted), other) => self.must(field, format!("must be {}, is {}", article(wanted), kind_of(other))),
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, field: &str) {
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(required) {
                self.must(&format!("{field}.{required}"), "must be set");
            }
        }
        if exceeds(&schema["maxProperties"], map.len()) {
            self.must(field, format!("must have at most {} entries, has {}", schema["maxProperties"], map.len()));
        }
        let preserved = schema["x-kubernetes-preserve-unknown-fields"] == true;
        for (name, value) in map {
            let field = format!("{field}.{name}");
            match (properties.get(name), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => self.node(schema, value, &field),
                (None, _) if preserved => {}
                (None, _) => self.must(&field, "unknown field; correct its name or remove it"),
            }
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], field: &str) {
        if exceeds(&schema["maxItems"], items.len()) {
            self.must(field, format!("must have at most {} items, has {}", schema["maxItems"], items.len()));
            return;
        }
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let field = format!("{field}[{index}]");
            self.node(&schema["items"], item, &field);
            if schema["x-kubernetes-list-type"] == "set" && !seen.insert(item.to_string()) {
                self.must(&field, format!("{item} must not stand twice"));
            }
        }
    }

    fn string(&mut self, schema: &Value, text: &str, field: &str) {
        let length = text.chars().count();
        if exceeds(&schema["maxLength"], length) {
            self.must(field, format!("must have at most {} characters, has {length}", schema["maxLength"]));
            return;
        }
        if schema["minLength"].as_u64().is_some_and(|least| (length as u64) < least) {
            self.must(field, format!("must have at least {} characters, has {length}", schema["minLength"]));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.iter().any(|value| value == text)
        {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            self.must(field, format!("{text:?} must be one of {}", values.join(", ")));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
        {
            self.must(field, format!("{text:?} must match {pattern}"));
        }
    }

    fn integer(&mut self, schema: &Value, number: i64, field: &str) {
        if schema["minimum"].as_i64().is_some_and(|least| number < least) {
            self.must(field, format!("{number} must be at least {}", schema["minimum"]));
        }
        if schema["maximum"].as_i64().is_some_and(|most| number > most) {
            self.must(field, format!("{number} must be at most {}", schema["maximum"]));
        }
        if schema["format"] == "int32" && i32::try_from(number).is_err() {
            self.must(field, format!("{number} must be a number of 32 bits"));
        }
    }
}

fn exceeds(limit: &Value, count: usize) -> bool {
    limit.as_u64().is_some_and(|limit| count as u64 > limit)
}

fn article(wanted: &str) -> String {
    match wanted {
        "object" | "array" | "integer" => format!("an {wanted}"),
        _ => format!("a {wanted}"),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{FlowCapture, schema};

    fn violations(spec: Value) -> Vec<String> {
        let crd = schema::user_crd::<FlowCapture>();
        let spec_schema = &schema::schema_of(&crd)["properties"]["spec"];
        check(spec_schema, &spec, "spec").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_spec_has_no_violation() {
        assert_eq!(violations(json!({"podSelector": {"matchLabels": {"app": "till"}}, "ports": [443, 53]})), [""; 0]);
    }

    #[test]
    fn every_violation_is_named_with_its_path() {
        let found = violations(json!({
            "podSelector": {"matchExpressions": [{"key": "app", "operator": "Is"}]},
            "ports": [443, 70000, 443],
            "protocols": "TCP",
            "durationSeconds": "long",
            "output": {"stderr": true},
        }));
        assert_eq!(
            found,
            [
                "spec.durationSeconds: must be an integer, is a string",
                "spec.output.stderr: unknown field; correct its name or remove it",
                "spec.podSelector.matchExpressions[0].operator: \"Is\" must be one of In, NotIn, Exists, DoesNotExist",
                "spec.ports[1]: 70000 must be at most 65535",
                "spec.ports[2]: 443 must not stand twice",
                "spec.protocols: must be an array, is a string",
            ]
        );
    }

    #[test]
    fn a_list_of_ten_thousand_is_one_violation() {
        let found = violations(json!({"podSelector": {}, "ports": vec![0; 10_000]}));
        assert_eq!(found, ["spec.ports: must have at most 32 items, has 10000"]);
    }

    #[test]
    fn what_must_be_set_is_named() {
        assert_eq!(violations(json!({})), ["spec.podSelector: must be set"]);
    }
}
