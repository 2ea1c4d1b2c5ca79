//! The stack's fields of a NodeRuntime: its owner, the profile it points at, labels of the node, and the port for the relay.
//! Sessions have field managers of their own.

use std::collections::BTreeSet;

use trilobite_crds::node::{NodeRuntime, NodeRuntimeSpec, ProfileRef};

use super::rollout::RolloutStep;
use crate::controllers::stack::{dereference::DereferencedStack, validate::ValidatedStack};
use crate::labels::{common_labels, owner_reference};

pub(super) fn build_node_runtime(
    validated: &ValidatedStack,
    profile: &ProfileRef,
    node: &str,
    uid: &str,
) -> NodeRuntime {
    let listen = validated.relay.as_ref().ok().map(|relay| relay.listen.clone());
    let node_labels = validated.node_labels.get(node).cloned().unwrap_or_default();
    let spec = NodeRuntimeSpec { profile_ref: Some(profile.clone()), sessions: Vec::new(), node_labels, listen };
    let mut runtime = NodeRuntime::new(node, spec);
    runtime.metadata.labels = Some(common_labels());
    // Deleting the node deletes its NodeRuntime.
    runtime.metadata.owner_references = Some(vec![owner_reference("v1", "Node", node, uid, false)]);
    runtime
}

/// NodeRuntimes whose port has to open, close or move, or whose labels have changed, with the profile that they have: a halted
/// rollout keeps no port open.
/// Those that the step updates anyway are left out. The second number is how many are left for later steps.
pub(super) fn build_port_changes(
    validated: &ValidatedStack,
    dereferenced: &DereferencedStack,
    step: &RolloutStep,
) -> (Vec<NodeRuntime>, usize) {
    let updated: BTreeSet<&str> = step.nodes.iter().map(|(name, _)| name.as_str()).collect();
    let listen = validated.relay.as_ref().ok().map(|relay| &relay.listen);
    let mut changes: Vec<NodeRuntime> = validated
        .nodes
        .iter()
        .filter(|(name, _)| !updated.contains(name.as_str()))
        .filter_map(|(name, uid)| {
            let spec = &dereferenced.runtimes.get(name)?.spec;
            let labels = validated.node_labels.get(name);
            let is_current = spec.listen.as_ref() == listen && labels.is_none_or(|labels| *labels == spec.node_labels);
            let profile = spec.profile_ref.as_ref().filter(|_| !is_current)?;
            Some(build_node_runtime(validated, profile, name, uid))
        })
        .collect();
    let all = changes.len();
    changes.truncate(dereferenced.tokens.saturating_sub(step.nodes.len()));
    let later = all - changes.len();
    (changes, later)
}
