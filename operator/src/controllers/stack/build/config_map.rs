//! The agents' ConfigMap: settings for all agents, as environment variables of their containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use crate::controllers::stack::validate::ValidatedStack;
use crate::labels::agent_metadata;

pub(super) fn build_config_map(validated: &ValidatedStack) -> ConfigMap {
    let mut data = BTreeMap::new();
    if validated.metrics.enabled {
        data.insert("TRILOBITE_METRICS_ADDRESS".into(), format!("[::]:{}", validated.metrics.port));
    }
    ConfigMap {
        metadata: agent_metadata(&validated.namespace, &validated.owner),
        data: Some(data),
        ..ConfigMap::default()
    }
}
