//! Which nodes are told next: a few at a time, and none while too many of those that were told fail. Pure.

use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::NodeRuntime,
};

use super::super::{dereference::Found, validate::Valid};
use crate::status::Rollout;

/// A rollout stops when more than this share of the told nodes fail with what they were told.
const TOLERATED_PERCENT: usize = 10;

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Name and uid of each node to tell.
    pub(super) nodes: Vec<(String, String)>,
    pub(super) left: usize,
    pub(super) rollout: Rollout,
}

pub(super) fn next(valid: &Valid, found: &Found) -> Step {
    let (mut told, mut failing) = (0, 0);
    let mut waiting = Vec::new();
    for (name, uid) in &valid.nodes {
        match found.runtimes.get(name) {
            Some(runtime) if points_right(runtime, valid, uid) => {
                told += 1;
                failing += usize::from(fails(runtime));
            }
            _ => waiting.push((name.clone(), uid.clone())),
        }
    }
    if !waiting.is_empty() && failing > (told * TOLERATED_PERCENT / 100).max(1) {
        return Step { nodes: Vec::new(), left: 0, rollout: Rollout::Halted { failing, told } };
    }
    let left = waiting.len().saturating_sub(valid.nodes_per_step);
    waiting.truncate(valid.nodes_per_step);
    Step { nodes: waiting, left, rollout: Rollout::Moving }
}

fn points_right(runtime: &NodeRuntime, valid: &Valid, uid: &str) -> bool {
    runtime.spec.profile_ref.as_ref() == Some(&valid.profile)
        && runtime.owner_references().iter().any(|owner| owner.kind == "Node" && owner.uid == uid)
}

/// The agent has answered, and what the stack itself asks is not in force.
fn fails(runtime: &NodeRuntime) -> bool {
    let Some(status) = &runtime.status else { return false };
    status.applied_profile == runtime.spec.profile_ref
        && find(&status.conditions, ConditionType::Ready).is_some_and(|ready| ready.status == ConditionStatus::False)
}
