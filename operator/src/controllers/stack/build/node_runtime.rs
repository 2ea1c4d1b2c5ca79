//! A NodeRuntime, as far as it is the stack's: who owns it, and which profile it points at. Sessions are others' fields.

use trilobite_crds::node::{NodeRuntime, NodeRuntimeSpec};

use super::super::validate::Valid;
use crate::children;

pub(super) fn build(valid: &Valid, node: &str, uid: &str) -> NodeRuntime {
    let spec = NodeRuntimeSpec { profile_ref: Some(valid.profile.clone()), sessions: Vec::new() };
    let mut runtime = NodeRuntime::new(node, spec);
    runtime.metadata.labels = Some(children::labels());
    // The node's deletion takes it along.
    runtime.metadata.owner_references = Some(vec![children::owner("v1", "Node", node, uid, false)]);
    runtime
}
