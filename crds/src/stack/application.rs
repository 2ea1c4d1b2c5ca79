//! `spec.application`: the fields of every layer, the memory of a node, who may see payloads, and the standing profile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationError, ValidationErrors};

use super::layers::LayerSpec;
use crate::{
    app_profile::{MIN_PROFILE_BUDGET, RequestsSpec},
    selector,
};

/// Memory of all profiles of a node together where the stack names none, in bytes.
pub const DEFAULT_NODE_BUDGET: i64 = 512 << 20;
/// Most memory of all profiles of a node together, in bytes.
const MAX_NODE_BUDGET: i64 = 1 << 40;

/// The application layer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationSpec {
    /// What every layer has.
    #[serde(flatten)]
    pub layer: LayerSpec,
    /// Memory on each node of all AppProfiles and the standing profile together, in bytes, e.g. 1073741824 for 1 GiB. What does
    /// not fit is refused on that node with `NodeBudgetExceeded`, and starts when others have ended. Unset means 536870912.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = MIN_PROFILE_BUDGET, max = MAX_NODE_BUDGET))]
    pub node_memory_budget_bytes: Option<i64>,
    /// Namespaces whose AppProfiles may keep bodies (`requests.payload`) and literals (`requests.redact.literals: Keep`), by
    /// their labels, e.g. `matchLabels: {kubernetes.io/metadata.name: shop}`. Unset allows it nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_payloads: Option<LabelSelector>,
    /// What the standing profile captures while `mode` is Enabled, e.g. `requests: {protocols: [http]}`; `{}` for the defaults.
    /// It keeps neither bodies nor literals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsSpec>,
}

/// By hand, so that the fields of `layer` are named as in the object, and its budget has the bound of this layer.
impl Validate for ApplicationSpec {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let mut errors = self.layer.validate().err().unwrap_or_default();
        let mut add = |field: &'static str, result: Result<(), ValidationError>| {
            if let Err(error) = result {
                errors.add(field, error);
            }
        };
        // The bounds of every layer are checked above.
        let below = self.layer.memory_budget_bytes.filter(|budget| (1..MIN_PROFILE_BUDGET).contains(budget));
        add("memory_budget_bytes", check_range(below, MIN_PROFILE_BUDGET, MAX_NODE_BUDGET));
        add(
            "node_memory_budget_bytes",
            check_range(self.node_memory_budget_bytes, MIN_PROFILE_BUDGET, MAX_NODE_BUDGET),
        );
        add("allow_payloads", self.allow_payloads.as_ref().map_or(Ok(()), selector::check_bounds));
        let result = if errors.is_empty() { Ok(()) } else { Err(errors) };
        match &self.requests {
            Some(requests) => ValidationErrors::merge(result, "requests", requests.validate()),
            None => result,
        }
    }
}

impl ApplicationSpec {
    /// Whether AppProfiles of a namespace with these labels may keep bodies and literals.
    pub fn allows_payloads(&self, namespace_labels: &selector::Labels) -> bool {
        // A selector that cannot be evaluated allows nothing; the stack's own condition names it.
        self.allow_payloads
            .as_ref()
            .is_some_and(|allowed| selector::matches(allowed, namespace_labels).unwrap_or(false))
    }
}

fn check_range(number: Option<i64>, min: i64, max: i64) -> Result<(), ValidationError> {
    let Some(number) = number.filter(|number| !(min..=max).contains(number)) else { return Ok(()) };
    let mut error = ValidationError::new("range");
    error.add_param("value".into(), &number);
    error.add_param("min".into(), &min);
    error.add_param("max".into(), &max);
    Err(error)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bounds;

    fn violations(spec: Value) -> Vec<String> {
        let spec: ApplicationSpec = serde_json::from_value(spec).unwrap();
        bounds::violations(&spec, "spec.application").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_bound_is_named_as_in_the_object() {
        assert_eq!(
            violations(json!({
                "memoryBudgetBytes": 4096,
                "nodeMemoryBudgetBytes": 4096,
                "allowPayloads": {"matchExpressions": [{"key": "", "operator": "Exists"}]},
                "requests": {"ports": [0], "payload": {"maxBytes": -1}},
            })),
            [
                "spec.application.allowPayloads.matchExpressions[0].key: must have at least 1 characters, has 0",
                "spec.application.memoryBudgetBytes: 4096 must be at least 8388608",
                "spec.application.nodeMemoryBudgetBytes: 4096 must be at least 8388608",
                "spec.application.requests.payload.maxBytes: -1 must be at least 0",
                "spec.application.requests.ports[0]: 0 must be at least 1",
            ]
        );
        assert_eq!(
            violations(json!({"memoryBudgetBytes": 0})),
            ["spec.application.memoryBudgetBytes: 0 must be at least 1"]
        );
        assert_eq!(violations(json!({"memoryBudgetBytes": 8 << 20, "nodeMemoryBudgetBytes": 8 << 20})), [""; 0]);
    }

    #[test]
    fn payloads_are_allowed_by_name_of_the_namespace_only() {
        let labels = |name: &str| [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into();
        let spec =
            |allowed: Value| -> ApplicationSpec { serde_json::from_value(json!({"allowPayloads": allowed})).unwrap() };
        let shop = spec(json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}}));
        assert!(shop.allows_payloads(&labels("shop")) && !shop.allows_payloads(&labels("payments")));
        assert!(!ApplicationSpec::default().allows_payloads(&labels("shop")), "unset allows nothing");
        assert!(spec(json!({})).allows_payloads(&labels("shop")), "an empty selector selects every namespace");
        let broken = spec(json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}));
        assert!(!broken.allows_payloads(&labels("shop")));
    }
}
