//! The relay's PodDisruptionBudget: drains evict one replica at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use trilobite_crds::read_api::RELAY;

use super::deployment::selector;
use crate::{
    controllers::stack::validate::{ValidatedRelay, ValidatedStack},
    labels::relay_metadata,
};

/// None for one replica, which a drain must be able to evict.
pub(super) fn build_disruption_budget(
    validated: &ValidatedStack,
    relay: &ValidatedRelay,
) -> Option<PodDisruptionBudget> {
    (relay.spec.replicas > 1).then(|| PodDisruptionBudget {
        metadata: relay_metadata(RELAY, Some(&validated.namespace), &validated.owner),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector()),
            // A replica that is not ready blocks no drain of its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
