//! Settings of all agents: the environment that their containers are given.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::validate::Valid;
use crate::children;

pub(super) fn build(valid: &Valid) -> ConfigMap {
    let mut data = BTreeMap::new();
    if valid.metrics.enabled {
        data.insert("TRILOBITE_METRICS_ADDRESS".into(), format!("[::]:{}", valid.metrics.port));
    }
    ConfigMap {
        metadata: children::of_agents(&valid.namespace, &valid.owner),
        data: Some(data),
        ..ConfigMap::default()
    }
}
