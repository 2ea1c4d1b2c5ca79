//! YAML to resources. Every error names the file, the document and the field, and all errors are shown at once.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Resource;
use crate::{GROUP, VERSION, schema};

/// Most bytes of one file.
const MAX_BYTES: usize = 4 << 20;
/// Most documents of one file.
const MAX_DOCUMENTS: usize = 1024;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}, document {document}{}{field}: {message}", if field.is_empty() { "" } else { ", " })]
pub struct ParseError {
    /// The file, as it was given.
    pub origin: String,
    /// Which document of it, from 1.
    pub document: usize,
    /// Which field; empty where it is about the whole document.
    pub field: String,
    /// What it must be.
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
        // By way of YAML's own value, which refuses a key that stands twice.
        let value = serde_yaml::Value::deserialize(document)
            .map_err(|cause| cause.to_string())
            .and_then(|value| serde_json::to_value(value).map_err(|cause| cause.to_string()));
        match value {
            // Past a broken document there is no telling where the next one begins.
            Err(cause) => {
                errors.push(error(number, "", format!("is not valid YAML: {cause}")));
                break;
            }
            Ok(Value::Null) => {}
            Ok(value) => match resource(value) {
                Ok(resource) => resources.push(resource),
                Err(found) => {
                    errors.extend(found.into_iter().map(|(field, message)| error(number, &field, message)));
                }
            },
        }
    }
    if errors.is_empty() { Ok(resources) } else { Err(errors) }
}

type Found = Vec<(String, String)>;

fn resource(mut value: Value) -> Result<Resource, Found> {
    let Value::Object(object) = &mut value else {
        return Err(vec![(String::new(), "must be an object with apiVersion and kind".into())]);
    };
    let served = format!("{GROUP}/{VERSION}");
    if object.get("apiVersion") != Some(&json!(served)) {
        let written = object.get("apiVersion").map_or("nothing".into(), Value::to_string);
        return Err(vec![("apiVersion".into(), format!("must be {served}, is {written}"))]);
    }
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
    let Some(crd) = Resource::crd(&kind) else {
        let kinds = "ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, FlowCapture or AppProfile";
        return Err(vec![("kind".into(), format!("must be {kinds}, is {kind:?}"))]);
    };
    let mut found = metadata(object, crd["spec"]["scope"] == "Namespaced");
    for (field, value) in object.iter() {
        match field.as_str() {
            "apiVersion" | "kind" | "metadata" | "status" => {}
            "spec" => {
                let spec = &schema::schema_of(&crd)["properties"]["spec"];
                found.extend(schema::check(spec, value, "spec").into_iter().map(|bad| (bad.field, bad.message)));
            }
            _ => found.push((field.clone(), "unknown field; correct its name or remove it".into())),
        }
    }
    if !object.contains_key("spec") {
        found.push(("spec".into(), "must be set".into()));
    }
    if !found.is_empty() {
        return Err(found);
    }
    // A status says how things were in some cluster; here it means nothing.
    object.remove("status");
    Resource::read(&kind, value).map_err(|cause| vec![(String::new(), cause.to_string())])
}

fn metadata(object: &mut Map<String, Value>, namespaced: bool) -> Found {
    let mut found = Found::new();
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return vec![("metadata.name".into(), "must be set".into())];
    };
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if !(1..=253).contains(&name.len()) || !name.split('.').all(is_dns_label) {
        found.push((
            "metadata.name".into(),
            "must be 1 to 253 lower case letters, digits, '-' or '.', and begin and end with a letter or digit".into(),
        ));
    }
    match (namespaced, metadata.get("namespace")) {
        (true, None) => {
            metadata.insert("namespace".into(), json!("default"));
        }
        (true, Some(Value::String(namespace))) if namespace.len() <= 63 && is_dns_label(namespace) => {}
        (true, Some(_)) => found.push((
            "metadata.namespace".into(),
            "must be 1 to 63 lower case letters, digits or '-', and begin and end with a letter or digit".into(),
        )),
        (false, Some(_)) => {
            found.push(("metadata.namespace".into(), "must not be set: the kind has no namespace".into()))
        }
        (false, None) => {}
    }
    found
}

fn is_dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(word)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|byte| word(byte) || *byte == b'-')
}
