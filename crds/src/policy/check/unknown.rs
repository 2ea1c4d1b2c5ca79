//! Fields that the language does not have. The spec keeps them, and its own schema says which fields exist.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{
    fault::{Fault, Faults},
    nearest::advice,
};
use crate::{policy::TracingPolicySpec, reason::Reason};

/// Fields of a later version, which are kept too.
const LATER: &[&str] = &["rollout"];

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<TracingPolicySpec>().into()
});

/// Refuses every field that the spec's schema does not list, with the nearest field that it does.
pub(super) fn check_unknown_fields(policy: &TracingPolicySpec, faults: &mut Faults) {
    // Serializing types of strings, numbers and lists does not fail.
    let written = serde_json::to_value(policy).unwrap_or_default();
    walk(&SCHEMA, &written, "spec", faults);
}

fn walk(schema: &Value, written: &Value, path: &str, faults: &mut Faults) {
    match written {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(&schema["items"], item, &format!("{path}[{index}]"), faults);
            }
        }
        Value::Object(fields) => {
            // A label selector comes from Kubernetes' own type, which drops what it does not know.
            let properties = schema["properties"].as_object();
            for (name, value) in fields {
                match properties.map(|properties| properties.get(name)) {
                    Some(Some(schema)) => walk(schema, value, &format!("{path}.{name}"), faults),
                    Some(None) if path == "spec" && LATER.contains(&name.as_str()) => {
                        faults.unsupported(&format!("{path}.{name}"));
                    }
                    Some(None) => faults
                        .add(|| unknown(path, name, properties.into_iter().flatten().map(|(name, _)| name.as_str()))),
                    None if schema["additionalProperties"].is_object() => {
                        walk(&schema["additionalProperties"], value, &format!("{path}.{name}"), faults);
                    }
                    None => {}
                }
            }
        }
        _ => {}
    }
}

fn unknown<'a>(path: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let field = format!("{path}.{name}");
    let advice = advice(name, known, "correct its name or remove it");
    Fault { reason: Reason::InvalidSpec, message: format!("unknown field {field}; {advice}"), field }
}
