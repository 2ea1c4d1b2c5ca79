//! The stack's fields of a NodeRuntime: its owner, and the profile it points at. Sessions have field managers of their
//! own.

use trilobite_crds::node::{NodeRuntime, NodeRuntimeSpec};

use crate::controllers::stack::validate::ValidatedStack;
use crate::labels::{common_labels, owner_reference};

pub(super) fn build_node_runtime(validated: &ValidatedStack, node: &str, uid: &str) -> NodeRuntime {
    let spec = NodeRuntimeSpec { profile_ref: Some(validated.profile.clone()), sessions: Vec::new() };
    let mut runtime = NodeRuntime::new(node, spec);
    runtime.metadata.labels = Some(common_labels());
    // Deleting the node deletes its NodeRuntime.
    runtime.metadata.owner_references = Some(vec![owner_reference("v1", "Node", node, uid, false)]);
    runtime
}
