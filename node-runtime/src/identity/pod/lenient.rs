//! Reads objects of the API server so that one odd field never hides the object: null counts as absent, and a spec or status
//! that still cannot be parsed counts as empty and is logged. (kube's `DeserializeGuard` would lose the whole object.)

use std::ops::Deref;

use kube::api::Object;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// A spec or a status that may be unreadable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lenient<T> {
    pub(crate) value: T,
    error: Option<String>,
}

impl<T> Deref for Lenient<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        // Go writes an unset time as null, e.g. the kubelet for a container that it lost.
        remove_nulls(&mut value);
        Ok(match serde_json::from_value(value) {
            Ok(value) => Self { value, error: None },
            Err(error) => Self { value: T::default(), error: Some(error.to_string()) },
        })
    }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(remove_nulls);
        }
        _ => {}
    }
}

/// Logs the parts of an object that could not be parsed.
pub(crate) fn warn_unreadable<P: Clone, U: Clone>(object: &Object<Lenient<P>, Lenient<U>>) {
    let status = object.status.as_ref().and_then(|status| status.error.as_ref());
    for error in object.spec.error.iter().chain(status) {
        let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
        tracing::warn!(%error, namespace, name, "a part of this object cannot be parsed and counts as empty");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Shell {
        layers: Vec<String>,
        weight: u32,
    }

    fn read(text: &str) -> Lenient<Shell> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn null_counts_as_absent_at_any_depth() {
        let shell = read(r#"{"layers": ["calcite", null], "weight": null, "age": {"from": null}}"#);
        assert_eq!((shell.value.layers, shell.value.weight, shell.error), (vec!["calcite".to_owned()], 0, None));
    }

    #[test]
    fn unreadable_part_counts_as_empty_and_is_reported() {
        let shell = read(r#"{"layers": ["calcite"], "weight": "heavy"}"#);
        assert_eq!(shell.value, Shell::default());
        assert!(shell.error.unwrap().contains("heavy"));
    }
}
