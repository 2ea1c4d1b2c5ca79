//! YAML to resources. Every error names the file, the document and the field, and all errors are shown at once.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::resource::{CILIUM, Resource};
use crate::{GROUP, VERSION, bounds::Violation};

/// Most bytes of one file.
const MAX_BYTES: usize = 4 << 20;
/// Most documents of one file.
const MAX_DOCUMENTS: usize = 1024;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}, document {document}{}{field}: {message}", if field.is_empty() { "" } else { ", " })]
pub struct ParseError {
    /// The file, as named by the caller.
    pub origin: String,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Path of the field; empty where the whole document is meant.
    pub field: String,
    /// What the field must be.
    pub message: String,
}

/// The resources of one file, in its order. Empty documents are skipped.
pub fn parse_documents(yaml: &str, origin: &str) -> Result<Vec<Resource>, Vec<ParseError>> {
    let mut resources = Vec::new();
    let mut errors = Vec::new();
    let error = |document, field: &str, message: String| ParseError {
        origin: origin.into(),
        document,
        field: field.into(),
        message,
    };
    if yaml.len() > MAX_BYTES {
        return Err(vec![error(1, "", format!("the file must have at most {MAX_BYTES} bytes, has {}", yaml.len()))]);
    }
    for (index, document) in serde_yaml::Deserializer::from_str(yaml).enumerate() {
        let number = index + 1;
        if number > MAX_DOCUMENTS {
            errors.push(error(number, "", format!("a file must have at most {MAX_DOCUMENTS} documents")));
            break;
        }
        // Through YAML's own value type, which refuses a duplicate key.
        let value = serde_yaml::Value::deserialize(document)
            .map_err(|cause| cause.to_string())
            .and_then(|value| serde_json::to_value(value).map_err(|cause| cause.to_string()));
        match value {
            // After a broken document the start of the next one is unknown.
            Err(cause) => {
                errors.push(error(number, "", format!("is not valid YAML: {cause}")));
                break;
            }
            Ok(Value::Null) => {}
            Ok(value) => match read_resource(value) {
                Ok(resource) => resources.push(resource),
                Err(violations) => {
                    errors.extend(violations.into_iter().map(|bad| error(number, &bad.field, bad.message)));
                }
            },
        }
    }
    if errors.is_empty() { Ok(resources) } else { Err(errors) }
}

fn read_resource(mut value: Value) -> Result<Resource, Vec<Violation>> {
    let Value::Object(object) = &mut value else {
        return Err(vec![violation("", "must be an object with apiVersion and kind")]);
    };
    let served = format!("{GROUP}/{VERSION}");
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_string();
    if ![served.as_str(), CILIUM].contains(&api_version.as_str()) {
        let written = object.get("apiVersion").map_or("nothing".into(), Value::to_string);
        return Err(vec![violation("apiVersion", format!("must be {served}, is {written}"))]);
    }
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
    let Some(source_kind) = Resource::kind(&api_version, &kind) else {
        let kinds = if api_version == CILIUM {
            "TracingPolicy or TracingPolicyNamespaced"
        } else {
            "ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, FlowCapture or AppProfile"
        };
        return Err(vec![violation("kind", format!("must be {kinds}, is {kind:?}"))]);
    };
    let crd = Resource::crd(source_kind);
    let mut violations = check_metadata(object, crd["spec"]["scope"] == "Namespaced");
    // A status describes some cluster and means nothing here.
    object.remove("status");
    let unknown = object.keys().filter(|field| !["apiVersion", "kind", "metadata", "spec"].contains(&field.as_str()));
    violations.extend(unknown.map(|field| violation(field, "unknown field; correct its name or remove it")));
    if !object.contains_key("spec") {
        violations.push(violation("spec", "must be set"));
        return Err(violations);
    }
    match Resource::read(source_kind, crd, &value) {
        Ok(resource) if violations.is_empty() => Ok(resource),
        Ok(_) => Err(violations),
        Err(found) => {
            // Without valid metadata, a violation of the whole object is a consequence.
            let metadata_is_valid = violations.is_empty();
            violations.extend(found.into_iter().filter(|bad| metadata_is_valid || !bad.field.is_empty()));
            Err(violations)
        }
    }
}

fn check_metadata(object: &mut Map<String, Value>, namespaced: bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return vec![violation("metadata.name", "must be set")];
    };
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if !(1..=253).contains(&name.len()) || !name.split('.').all(is_dns_label) {
        violations.push(violation(
            "metadata.name",
            "must be 1 to 253 lower case letters, digits, '-' or '.', and begin and end with a letter or digit",
        ));
    }
    match (namespaced, metadata.get("namespace")) {
        (true, None) => {
            metadata.insert("namespace".into(), json!("default"));
        }
        (true, Some(Value::String(namespace))) if namespace.len() <= 63 && is_dns_label(namespace) => {}
        (true, Some(_)) => violations.push(violation(
            "metadata.namespace",
            "must be 1 to 63 lower case letters, digits or '-', and begin and end with a letter or digit",
        )),
        (false, Some(_)) => {
            violations.push(violation("metadata.namespace", "must not be set: the kind has no namespace"));
        }
        (false, None) => {}
    }
    violations
}

fn violation(field: &str, message: impl Into<String>) -> Violation {
    Violation { field: field.into(), message: message.into() }
}

fn is_dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(word)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|byte| word(byte) || *byte == b'-')
}
