//! The plan, and the nodes it is for. Later phases use `ValidatedStack` and not the raw spec.

mod relay;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::ResourceExt as _;
use trilobite_crds::{
    Inputs, ObservabilityStack, Planned, Refusal, UserKind as _,
    node::ProfileRef,
    plan,
    selector::Labels,
    stack::{MetricsSpec, RuntimeSpec},
};

use self::relay::validate_relay;
pub(super) use self::relay::{Registration, Unwanted, ValidatedRelay, recheck_after, relay_state};
use super::dereference::DereferencedStack;
use crate::{args::Arguments, labels::owner_reference, plan::profile_ref, stack_nodes::NodeSelection};

pub(super) struct ValidatedStack {
    pub(super) planned: Planned,
    /// Refusals about the stack itself; those about policies are reported by the policies' controllers.
    pub(super) refusals: Vec<Refusal>,
    pub(super) profile: ProfileRef,
    pub(super) selection: NodeSelection,
    /// Name and UID of the selected nodes.
    pub(super) nodes: Vec<(String, String)>,
    /// By node: its labels that policies select nodes by.
    pub(super) node_labels: BTreeMap<String, Labels>,
    /// Nodes that are being deleted. Their pods may run for hours, so they keep their agent, but they do not count.
    pub(super) deleting_nodes: BTreeSet<String>,
    pub(super) runtime: RuntimeSpec,
    pub(super) metrics: MetricsSpec,
    /// Port of the agents' metrics of flows, while they are counted.
    pub(super) flow_metrics_port: Option<i32>,
    pub(super) relay: Result<ValidatedRelay, Unwanted>,
    pub(super) owner: OwnerReference,
    pub(super) namespace: String,
    pub(super) image: String,
    pub(super) service_account: String,
    pub(super) nodes_per_second: usize,
}

pub(super) fn validate(
    stack: &ObservabilityStack,
    dereferenced: &DereferencedStack,
    arguments: &Arguments,
) -> ValidatedStack {
    let inputs = Inputs {
        stack,
        policies: dereferenced.policies.iter().collect(),
        namespaced_policies: dereferenced.namespaced_policies.iter().collect(),
        cilium_policies: dereferenced.cilium_policies.iter().collect(),
        cilium_namespaced_policies: dereferenced.cilium_namespaced_policies.iter().collect(),
    };
    let planned = plan(&inputs);
    let selection = NodeSelection::from_stack(stack);
    let source = stack.source();
    let deleting = dereferenced.nodes.iter().filter(|node| node.metadata.deletion_timestamp.is_some());
    let spec = &stack.spec;
    let flow_metrics = planned.profile.spec.network.as_ref().and_then(|network| network.metrics.as_ref());
    let (name, uid) = (stack.name_any(), stack.uid().unwrap_or_default());
    ValidatedStack {
        refusals: planned.refusals.iter().filter(|refusal| refusal.source == source).cloned().collect(),
        profile: profile_ref(&planned),
        node_labels: node_labels(&planned, dereferenced),
        flow_metrics_port: flow_metrics.map(|metrics| metrics.port.into()),
        planned,
        nodes: selected_nodes(&selection, dereferenced),
        selection,
        deleting_nodes: deleting.map(|node| node.name_any()).collect(),
        runtime: spec.runtime.clone(),
        metrics: spec.metrics.clone(),
        relay: validate_relay(spec, &dereferenced.relay, arguments),
        owner: owner_reference("trilobite.dev/v1alpha1", "ObservabilityStack", &name, &uid, true),
        namespace: arguments.namespace.clone(),
        image: spec.runtime.image.clone().unwrap_or_else(|| arguments.node_image.clone()),
        service_account: arguments.node_service_account.clone(),
        nodes_per_second: arguments.nodes_per_second as usize,
    }
}

fn node_labels(planned: &Planned, dereferenced: &DereferencedStack) -> BTreeMap<String, Labels> {
    let selectors = planned.parts.iter().filter_map(|part| part.spec.content.node_selector());
    let keys = selectors.flat_map(|selector| {
        let expressions = selector.match_expressions.iter().flatten().map(|requirement| &requirement.key);
        selector.match_labels.iter().flatten().map(|(key, _)| key).chain(expressions)
    });
    let keys: BTreeSet<&String> = keys.collect();
    let named = |node: &Node| -> Labels {
        let labels = node.labels().iter().filter(|(key, _)| keys.contains(key));
        labels.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    dereferenced.nodes.iter().map(|node| (node.name_any(), named(node))).collect()
}

/// Sorted by name, so that a rollout updates nodes in a stable order.
fn selected_nodes(selection: &NodeSelection, dereferenced: &DereferencedStack) -> Vec<(String, String)> {
    let selected = dereferenced.nodes.iter().filter(|node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        selection.selects(node.labels(), taints, dereferenced.agents.contains_key(&node.name_any()))
    });
    let mut nodes: Vec<_> = selected.map(|node| (node.name_any(), node.uid().unwrap_or_default())).collect();
    nodes.sort_unstable();
    nodes
}
