//! The schema of the chart's values: what is written by hand, and the CRD's own schemas for the parts that Kubernetes or the
//! stack read. An API server drops an unknown field of a custom resource; Helm refuses it here, by its name.

use serde_json::{Map, Value, json};

use trilobite_crds::{
    ObservabilityStack,
    schema::{schema_of, user_crd},
};

const WRITTEN_BY_HAND: &str = include_str!("chart_values.json");
/// Names of resources that Kubernetes accepts for a container: its own, and those with a domain, e.g. `nvidia.com/gpu`.
const RESOURCE_NAME: &str = "^(cpu|memory|ephemeral-storage|hugepages-[0-9]+(Ki|Mi|Gi)|[a-z0-9.-]+/[A-Za-z0-9._-]+)$";

/// The text of `values.schema.json`.
pub(crate) fn chart_values_schema() -> Result<String, serde_json::Error> {
    let mut schema: Value = serde_json::from_str(WRITTEN_BY_HAND)?;
    let mut stack_spec = closed_schema(&schema_of(&user_crd::<ObservabilityStack>())["properties"]["spec"]);

    let runtime = &mut stack_spec["properties"]["runtime"]["properties"];
    let mut pod_resources = runtime["resources"].clone();
    name_resources(&mut runtime["resources"], &json!({}));
    // YAML's `cpu: 1` is a number, which Kubernetes accepts in a pod and the CRD does not.
    name_resources(&mut pod_resources, &json!({ "type": ["string", "number"], "minimum": 0 }));
    // The agents stay on a node whatever happens to it, so the CRD has no tolerationSeconds.
    let mut pod_toleration = runtime["tolerations"]["items"].clone();
    pod_toleration["properties"]["tolerationSeconds"] = json!({ "type": "integer" });
    name_resources(&mut stack_spec["properties"]["relay"]["properties"]["resources"], &json!({}));

    let definitions = &mut schema["definitions"];
    definitions["stackSpec"] = stack_spec;
    definitions["podResources"] = pod_resources;
    definitions["podToleration"] = pod_toleration;
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// Refuses resources of other names. By `patternProperties`, as Helm gives a wrong path for a fault that `propertyNames` finds.
fn name_resources(resources: &mut Value, changed_keywords: &Value) {
    for quantities in ["requests", "limits"] {
        let quantities = &mut resources["properties"][quantities];
        let mut quantity = std::mem::replace(&mut quantities["additionalProperties"], Value::Bool(false));
        for (keyword, value) in changed_keywords.as_object().into_iter().flatten() {
            quantity[keyword] = value.clone();
        }
        quantities["patternProperties"] = json!({ RESOURCE_NAME: quantity });
    }
}

/// A schema of a CRD as JSON Schema: fields that it does not list are refused, and what only an API server reads is dropped.
fn closed_schema(schema: &Value) -> Value {
    let Some(keywords) = schema.as_object() else { return schema.clone() };
    let mut closed = Map::new();
    for (keyword, value) in keywords {
        let value = match (keyword.as_str(), value) {
            ("properties", Value::Object(fields)) => {
                Value::Object(fields.iter().map(|(name, field)| (name.clone(), closed_schema(field))).collect())
            }
            ("items" | "additionalProperties", inner) => closed_schema(inner),
            // Formats such as int32 are Kubernetes' own; defaults are the API server's to fill in.
            ("default" | "format", _) => continue,
            (name, _) if name.starts_with("x-kubernetes-") => continue,
            (_, value) => value.clone(),
        };
        closed.insert(keyword.clone(), value);
    }
    if keywords.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        closed.insert("type".into(), json!(["integer", "string"]));
    }
    if closed.contains_key("properties") && !closed.contains_key("additionalProperties") {
        closed.insert("additionalProperties".into(), Value::Bool(false));
    }
    Value::Object(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_of_the_stack_refuses_unknown_fields() {
        let schema: Value = serde_json::from_str(&chart_values_schema().unwrap()).unwrap();
        let mut objects = 0;
        let mut open = vec![schema["definitions"]["stackSpec"].clone()];
        while let Some(schema) = open.pop() {
            if schema.get("properties").is_some() {
                assert_eq!(schema["additionalProperties"], false, "{schema:#}");
                objects += 1;
            }
            let fields = schema["properties"].as_object().into_iter().flat_map(|fields| fields.values().cloned());
            open.extend(fields.chain(schema.get("items").cloned()));
        }
        assert!(objects > 10, "{objects}");
    }

    #[test]
    fn an_int_or_string_keeps_both_types_and_its_bounds() {
        let crd = json!({
            "x-kubernetes-int-or-string": true, "default": "10%", "minimum": 1, "pattern": "%$", "format": "int32",
        });
        assert_eq!(closed_schema(&crd), json!({ "type": ["integer", "string"], "minimum": 1, "pattern": "%$" }));
    }
}
