//! The structure of an object from a file against its CRD: unknown fields, missing fields, types, enumerations, duplicates.
//! serde cannot replace this: it stops at the first error, gives no path, and ignores unknown fields. Bounds and patterns are
//! not checked here but by `#[validate(..)]` on the types, and rules by `rules.rs`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::bounds::Violation;

/// Everything that is wrong with the structure of `value`, found at `field`. Fields of a wrong type are removed from `value`,
/// so that the rest can be deserialized and its bounds reported too.
pub fn check_structure(schema: &Value, value: &mut Value, field: &str) -> Vec<Violation> {
    let mut check = StructureCheck { violations: Vec::new() };
    check.node(schema, value, field);
    check.violations
}

struct StructureCheck {
    violations: Vec<Violation>,
}

/// Whether serde can read a value.
type Readable = bool;

impl StructureCheck {
    fn report(&mut self, field: &str, message: impl Into<String>) {
        self.violations.push(Violation { field: field.into(), message: message.into() });
    }

    fn node(&mut self, schema: &Value, value: &mut Value, field: &str) -> Readable {
        if schema["x-kubernetes-int-or-string"] == true {
            let fits = value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            if !fits {
                self.report(field, "must be an integer of 32 bits or a string");
            }
            return fits;
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(map)) => self.object(schema, map, field),
            (Some("array"), Value::Array(items)) => self.array(schema, items, field),
            (Some("string"), Value::String(text)) => self.string(schema, text, field),
            (Some("integer"), Value::Number(number)) => match number.as_i64() {
                Some(number) => self.integer(schema, number, field),
                None => {
                    self.report(field, format!("{number} must be a whole number of 64 bits"));
                    false
                }
            },
            (Some("boolean"), Value::Bool(_)) | (None, _) => true,
            (Some(expected), other) => {
                self.report(field, format!("must be {}, is {}", with_article(expected), kind_of(other)));
                false
            }
        }
    }

    fn object(&mut self, schema: &Value, map: &mut Map<String, Value>, field: &str) -> Readable {
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for name in &required {
            if !map.contains_key(*name) {
                self.report(&format!("{field}.{name}"), "must be set");
            }
        }
        let preserved = schema["x-kubernetes-preserve-unknown-fields"] == true;
        map.retain(|name, value| {
            let field = format!("{field}.{name}");
            match (properties.get(name), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => self.node(schema, value, &field),
                (None, _) if preserved => true,
                (None, _) => {
                    self.report(&field, "unknown field; correct its name or remove it");
                    false
                }
            }
        });
        required.iter().all(|name| map.contains_key(*name))
    }

    fn array(&mut self, schema: &Value, items: &mut [Value], field: &str) -> Readable {
        // Of a list that is too long, the bound reports the length; one message for each item would bury it.
        if schema["maxItems"].as_u64().is_some_and(|limit| items.len() as u64 > limit) {
            return true;
        }
        let mut seen = HashSet::new();
        let mut readable = true;
        for (index, item) in items.iter_mut().enumerate() {
            let field = format!("{field}[{index}]");
            if schema["x-kubernetes-list-type"] == "set" && !seen.insert(item.to_string()) {
                self.report(&field, format!("{item} must not occur twice"));
            }
            readable &= self.node(&schema["items"], item, &field);
        }
        readable
    }

    fn string(&mut self, schema: &Value, text: &str, field: &str) -> Readable {
        let Some(values) = schema["enum"].as_array() else { return true };
        let known = values.iter().any(|value| value == text);
        if !known {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            self.report(field, format!("{text:?} must be one of {}", values.join(", ")));
        }
        known
    }

    fn integer(&mut self, schema: &Value, number: i64, field: &str) -> Readable {
        let fits = schema["format"] != "int32" || i32::try_from(number).is_ok();
        if !fits {
            self.report(field, format!("{number} must be a whole number of 32 bits"));
        }
        fits
    }
}

fn with_article(noun: &str) -> String {
    match noun {
        "object" | "array" | "integer" => format!("an {noun}"),
        _ => format!("a {noun}"),
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
