//! Where a policy applies: the selectors of pods, containers, host and nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::fault::Faults;
use crate::{
    node::{CONTAINER_NAME, CONTAINER_REPO},
    policy::{TracingPolicySpec, WorkloadFilter},
    selector,
};

pub(super) fn check_scope(policy: &TracingPolicySpec, is_namespaced: bool, faults: &mut Faults) {
    check_labels("spec.podSelector", policy.pod_selector.as_ref(), faults);
    check_containers("spec.containerSelector", policy.container_selector.as_ref(), faults);
    check_host("spec.hostSelector", policy.host_selector.as_ref(), is_namespaced, faults);
    check_labels("spec.nodeSelector", policy.node_selector.as_ref(), faults);
}

/// The workloads of a selector.
pub(super) fn check_workloads(path: &str, workloads: &WorkloadFilter, is_namespaced: bool, faults: &mut Faults) {
    let WorkloadFilter { pod_selector, container_selector, host_selector, other: _ } = workloads;
    check_labels(&format!("{path}.podSelector"), pod_selector.as_ref(), faults);
    check_containers(&format!("{path}.containerSelector"), container_selector.as_ref(), faults);
    check_host(&format!("{path}.hostSelector"), host_selector.as_ref(), is_namespaced, faults);
}

fn check_labels(path: &str, selector: Option<&LabelSelector>, faults: &mut Faults) {
    if let Some(Err(error)) = selector.map(selector::check) {
        faults.invalid(&format!("{path}.{}", error.field()), || error.to_string());
    }
}

fn check_containers(path: &str, selector: Option<&LabelSelector>, faults: &mut Faults) {
    check_labels(path, selector, faults);
    let Some(LabelSelector { match_labels, match_expressions }) = selector else { return };
    let labels = match_labels.iter().flatten().map(|(key, _)| (format!("{path}.matchLabels.{key}"), key));
    let expressions = match_expressions.iter().flatten().enumerate();
    let expressions =
        expressions.map(|(index, expression)| (format!("{path}.matchExpressions[{index}].key"), &expression.key));
    for (field, key) in labels.chain(expressions) {
        if ![CONTAINER_NAME, CONTAINER_REPO].contains(&key.as_str()) {
            faults.invalid(&field, || format!("containers are selected by {CONTAINER_NAME} and {CONTAINER_REPO}"));
        }
    }
}

fn check_host(path: &str, selector: Option<&LabelSelector>, is_namespaced: bool, faults: &mut Faults) {
    let Some(selector) = selector else { return };
    if is_namespaced {
        faults.invalid(path, || "a namespaced policy cannot select the host; use TracingPolicy, or remove it".into());
    } else if *selector != LabelSelector::default() {
        faults.invalid(path, || "must be {}, which selects the processes outside any pod".into());
    }
}
