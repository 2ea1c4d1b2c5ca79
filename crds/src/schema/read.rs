//! Objects that did not pass an API server, read as it would: structure, bounds, then rules, with every violation at once.

use kube::core::object::HasSpec;
use serde::de::DeserializeOwned;
use serde_json::Value;
use validator::Validate;

use super::{rules::broken_rules, schema_of, structure::check_structure};
use crate::bounds::{self, Violation};

/// Reads `object` as a `K`, or says everything that the API server would refuse in its spec, sorted by field.
/// Rules about a change (`oldSelf`) are evaluated only where `old` is given.
pub fn read<K>(crd: &Value, object: &Value, old: Option<&Value>) -> Result<K, Vec<Violation>>
where
    K: DeserializeOwned + HasSpec<Spec: Validate>,
{
    let schema = schema_of(crd);
    let mut readable = object.clone();
    let mut violations = check_structure(&schema["properties"]["spec"], &mut readable["spec"], "spec");
    let read = serde_json::from_value::<K>(readable);
    match &read {
        Ok(object) => violations.extend(bounds::violations(object.spec(), "spec")),
        // After a structural violation, serde may miss what was removed; alone it is an error of its own.
        Err(cause) if violations.is_empty() => {
            violations.push(Violation { field: String::new(), message: cause.to_string() });
        }
        Err(_) => {}
    }
    if violations.is_empty() {
        violations = broken_rules(schema, object, old);
    }
    violations.sort();
    match read {
        Ok(read) if violations.is_empty() => Ok(read),
        _ => Err(violations),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{FlowCapture, schema::user_crd};

    fn violations(spec: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "web"}, "spec": spec});
        let found = read::<FlowCapture>(&user_crd::<FlowCapture>(), &object, None).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_spec_has_no_violation() {
        assert_eq!(violations(json!({"podSelector": {"matchLabels": {"app": "till"}}, "ports": [443, 53]})), [""; 0]);
    }

    #[test]
    fn every_violation_is_reported_with_its_path() {
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
                "spec.ports[2]: 443 must not occur twice",
                "spec.protocols: must be an array, is a string",
            ]
        );
    }

    #[test]
    fn overlong_list_is_one_violation() {
        let found = violations(json!({"podSelector": {}, "ports": vec![0; 10_000]}));
        assert_eq!(found, ["spec.ports: must have at most 32 items, has 10000"]);
    }

    #[test]
    fn missing_field_is_named() {
        assert_eq!(violations(json!({})), ["spec.podSelector: must be set"]);
    }
}
