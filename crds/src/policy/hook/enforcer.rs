//! Enforcers, which act for hooks that cannot. Not supported yet.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

use crate::bounds;

const MAX_CALL: usize = 256;

/// Functions at which NotifyEnforcer acts.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enforcer {
    /// Names of functions, or `list:NAME`.
    #[schemars(inner(length(max = MAX_CALL)))]
    #[validate(length(max = 1024), custom(function = check_calls))]
    pub calls: Vec<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn check_calls(calls: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(calls, |call| bounds::length_problem(call, 0, MAX_CALL))
}
