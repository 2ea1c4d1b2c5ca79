//! The plan, and which nodes it is for. Nobody looks at the raw stack after this, but for its name and its owner reference.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use trilobite_crds::{
    Inputs, ObservabilityStack, Planned, Refusal, UserKind as _,
    node::ProfileRef,
    plan,
    stack::{MetricsSpec, RuntimeSpec},
};

use super::dereference::Found;
use crate::{args::Arguments, children, plan::profile_ref, selection::Fleet};

/// See the head of this file.
pub(super) struct Valid {
    pub(super) planned: Planned,
    /// Refusals that are about the stack itself; those about policies are the policies'.
    pub(super) refusals: Vec<Refusal>,
    pub(super) profile: ProfileRef,
    pub(super) fleet: Fleet,
    /// Nodes of the fleet, by name, with their uid.
    pub(super) nodes: Vec<(String, String)>,
    /// Those of them that are being deleted. Their pods may run for hours yet, so they keep what they have; they do not count.
    pub(super) leaving: BTreeSet<String>,
    pub(super) runtime: RuntimeSpec,
    pub(super) metrics: MetricsSpec,
    pub(super) owner: OwnerReference,
    pub(super) namespace: String,
    pub(super) image: String,
    pub(super) service_account: String,
    pub(super) nodes_per_second: usize,
}

pub(super) fn run(stack: &ObservabilityStack, found: &Found, arguments: &Arguments) -> Valid {
    let inputs = Inputs {
        stack,
        policies: found.policies.iter().collect(),
        namespaced_policies: found.namespaced_policies.iter().collect(),
    };
    let planned = plan(&inputs);
    let fleet = Fleet::of(stack);
    let source = stack.source();
    let mut nodes: Vec<_> = found
        .nodes
        .iter()
        .filter(|node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
            fleet.selects(node.labels(), taints, found.agents.contains_key(&node.name_any()))
        })
        .map(|node| (node.name_any(), node.uid().unwrap_or_default()))
        .collect();
    nodes.sort_unstable();
    let leaving = found.nodes.iter().filter(|node| node.metadata.deletion_timestamp.is_some());
    let spec = &stack.spec;
    Valid {
        refusals: planned.refusals.iter().filter(|refusal| refusal.source == source).cloned().collect(),
        profile: profile_ref(&planned),
        planned,
        fleet,
        nodes,
        leaving: leaving.map(|node| node.name_any()).collect(),
        runtime: spec.runtime.clone(),
        metrics: spec.metrics.clone(),
        owner: children::owner(
            "trilobite.dev/v1alpha1",
            "ObservabilityStack",
            &stack.name_any(),
            &stack.uid().unwrap_or_default(),
            true,
        ),
        namespace: arguments.namespace.clone(),
        image: spec.runtime.image.clone().unwrap_or_else(|| arguments.node_image.clone()),
        service_account: arguments.node_service_account.clone(),
        nodes_per_second: arguments.nodes_per_second as usize,
    }
}
