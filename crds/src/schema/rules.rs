//! CEL rules of a CRD, evaluated without an API server: for objects that come from files, and for tests.

use kube_cel::Validator;
use serde_json::Value;

use crate::bounds::Violation;

/// Every rule of `schema` that `object` breaks. Rules about a change (`oldSelf`) are evaluated only where `old` is given.
pub fn broken_rules(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let Err(errors) = Validator::new().validate(schema, object, old) else { return Vec::new() };
    errors.into_iter().map(|error| Violation { field: error.field_path, message: error.message }).collect()
}
