//! Turns one tracing policy into a part. What is not supported exactly is refused by its path.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::refusal::Refusal;
use crate::{
    node::{PodScope, PolicyPart, Source, WorkloadScope},
    policy::{
        TracingPolicySpec,
        check::{Faults, check},
    },
};

/// The part of one policy, or its refusals.
pub(super) fn policy_part(
    policy: &TracingPolicySpec,
    source: &Source,
    namespace_selector: Option<&LabelSelector>,
    ring_bytes: u32,
    dry_run: bool,
) -> Result<PolicyPart, Vec<Refusal>> {
    let spec = check(policy, source.namespace.is_some()).map_err(|faults| refusals(source, faults))?;
    let (pods, containers) = (spec.pod_selector.clone(), spec.container_selector.clone());
    let selected = WorkloadScope::new(pods, containers, spec.host_selector.is_some());
    let pods = PodScope::of_policy(source.namespace.clone(), namespace_selector.cloned(), selected);
    Ok(PolicyPart { pods: Arc::new(pods), spec: Arc::new(spec), ring_bytes, dry_run })
}

fn refusals(source: &Source, faults: Faults) -> Vec<Refusal> {
    let Faults { listed, unlisted } = faults;
    let mut refusals: Vec<_> =
        listed.into_iter().map(|fault| Refusal::new(source, fault.reason, fault.field, fault.message)).collect();
    if let Some(last) = refusals.last_mut() {
        last.unlisted = unlisted;
    }
    refusals
}
