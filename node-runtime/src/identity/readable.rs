//! What the API server says of an object, read so that one odd field never hides the object: what is null counts as left
//! out, and what still cannot be read counts as empty and is said.

use std::ops::Deref;

use kube::api::Object;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// A spec or a status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readable<T> {
    /// What was read of it.
    pub(crate) read: T,
    wrong: Option<String>,
}

impl<T> Deref for Readable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.read
    }
}

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Readable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        // Go writes a time that nobody has set as null, as the kubelet's of a container that it lost.
        leave_out_nulls(&mut value);
        Ok(match serde_json::from_value(value) {
            Ok(read) => Self { read, wrong: None },
            Err(error) => Self { read: T::default(), wrong: Some(error.to_string()) },
        })
    }
}

fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(leave_out_nulls);
        }
        _ => {}
    }
}

/// Says what of an object could not be read: it is known by the rest.
pub(crate) fn say_unread<P: Clone, U: Clone>(object: &Object<Readable<P>, Readable<U>>) {
    let status = object.status.as_ref().and_then(|status| status.wrong.as_ref());
    for error in object.spec.wrong.iter().chain(status) {
        let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
        tracing::warn!(%error, namespace, name, "a part of this object cannot be read and counts as empty");
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

    fn read(text: &str) -> Readable<Shell> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_null_counts_as_left_out_however_deep_it_lies() {
        let shell = read(r#"{"layers": ["calcite", null], "weight": null, "age": {"from": null}}"#);
        assert_eq!((shell.read.layers, shell.read.weight, shell.wrong), (vec!["calcite".to_owned()], 0, None));
    }

    #[test]
    fn what_cannot_be_read_counts_as_empty_and_is_said() {
        let shell = read(r#"{"layers": ["calcite"], "weight": "heavy"}"#);
        assert_eq!(shell.read, Shell::default());
        assert!(shell.wrong.unwrap().contains("heavy"));
    }
}
