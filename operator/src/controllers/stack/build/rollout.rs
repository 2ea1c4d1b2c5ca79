//! Which nodes are told next: as many as the pace allows, few that owe an answer, and none while too many of those that were
//! told fail with it. A node that was never told anything is not held back by the others: it has nothing that could be kept.
//! Nodes that are being deleted are told too, and do not count. Pure.

use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::NodeRuntime,
};

use super::super::{dereference::Found, validate::Valid};
use crate::{status::Rollout, watch::node_runtimes::told_at};

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
    let (mut told, mut failing, mut unanswered) = (0, 0, 0);
    let (mut new, mut waiting) = (Vec::new(), Vec::new());
    for (name, uid) in &valid.nodes {
        let node = (name.clone(), uid.clone());
        let leaving = valid.leaving.contains(name);
        match found.runtimes.get(name) {
            Some(runtime) if points_right(runtime, valid, uid) && leaving => {}
            Some(runtime) if points_right(runtime, valid, uid) => {
                told += 1;
                failing += usize::from(fails(runtime));
                unanswered += usize::from(!has_answered(runtime) && found.agents.get(name) == Some(&true));
            }
            Some(runtime) if runtime.spec.profile_ref.is_some() => waiting.push(node),
            // Nothing begins there any more.
            _ if leaving => {}
            _ => new.push(node),
        }
    }
    let halted = !waiting.is_empty() && failing > (told * TOLERATED_PERCENT / 100).max(1);
    let all_new = new.len();
    new.truncate(found.tokens);
    if halted {
        return Step { left: all_new - new.len(), nodes: new, rollout: Rollout::Halted { failing, told } };
    }
    // Agents that run and owe an answer are as many as one second's nodes at most.
    let room = valid.nodes_per_second.saturating_sub(unanswered).min(found.tokens - new.len());
    let left = all_new - new.len() + waiting.len().saturating_sub(room);
    waiting.truncate(room);
    Step { nodes: new.into_iter().chain(waiting).collect(), left, rollout: Rollout::Moving }
}

fn points_right(runtime: &NodeRuntime, valid: &Valid, uid: &str) -> bool {
    runtime.spec.profile_ref.as_ref() == Some(&valid.profile)
        && runtime.owner_references().iter().any(|owner| owner.kind == "Node" && owner.uid == uid)
}

fn has_answered(runtime: &NodeRuntime) -> bool {
    runtime.status.as_ref().is_some_and(|status| status.applied_profile == runtime.spec.profile_ref)
}

/// The agent has answered, and what the stack itself asks has not been in force since the node was told. A node that failed
/// before it was told, as one whose kernel is too old for a layer, says nothing about the change.
fn fails(runtime: &NodeRuntime) -> bool {
    let conditions = runtime.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let told = told_at(runtime);
    has_answered(runtime)
        && find(conditions, ConditionType::Ready).is_some_and(|ready| {
            ready.status == ConditionStatus::False && told.is_none_or(|told| ready.last_transition_time >= told)
        })
}
