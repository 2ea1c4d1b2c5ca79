//! Which nodes the rollout updates next. Limits: the tokens of the rate limiter, the nodes whose report is outstanding,
//! and a halt while too many updated nodes fail. A new node is not subject to the halt: it has no older profile that it
//! could keep. Nodes that are being deleted are updated too, but do not count. Pure.

use kube::ResourceExt as _;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::NodeRuntime,
};

use crate::controllers::stack::{dereference::DereferencedStack, validate::ValidatedStack};
use crate::{status::Rollout, watch::node_runtimes::spec_written_at};

/// A rollout halts if more than this share of the updated nodes fails, and at least two of them.
const TOLERATED_PERCENT: usize = 10;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RolloutStep {
    /// Name and UID of the nodes to update.
    pub(super) nodes: Vec<(String, String)>,
    pub(super) remaining_nodes: usize,
    pub(super) rollout: Rollout,
}

pub(super) fn next_step(validated: &ValidatedStack, dereferenced: &DereferencedStack) -> RolloutStep {
    let (mut updated, mut failing, mut unreported) = (0, 0, 0);
    let (mut new, mut outdated) = (Vec::new(), Vec::new());
    for (name, uid) in &validated.nodes {
        let node = (name.clone(), uid.clone());
        let deleting = validated.deleting_nodes.contains(name);
        match dereferenced.runtimes.get(name) {
            Some(runtime) if is_updated(runtime, validated, uid) && deleting => {}
            Some(runtime) if is_updated(runtime, validated, uid) => {
                updated += 1;
                failing += usize::from(fails_since_update(runtime));
                let agent_ready = dereferenced.agents.get(name) == Some(&true);
                unreported += usize::from(!has_applied(runtime) && agent_ready);
            }
            Some(runtime) if runtime.spec.profile_ref.is_some() => outdated.push(node),
            // A node that is being deleted gets no new NodeRuntime.
            _ if deleting => {}
            _ => new.push(node),
        }
    }
    let halted = !outdated.is_empty() && failing > (updated * TOLERATED_PERCENT / 100).max(1);
    let all_new = new.len();
    new.truncate(dereferenced.tokens);
    if halted {
        let rollout = Rollout::Halted { failing, updated };
        return RolloutStep { remaining_nodes: all_new - new.len(), nodes: new, rollout };
    }
    // At most the nodes of one second may have a ready agent and no report yet.
    let room = validated.nodes_per_second.saturating_sub(unreported).min(dereferenced.tokens - new.len());
    let remaining_nodes = all_new - new.len() + outdated.len().saturating_sub(room);
    outdated.truncate(room);
    let nodes = new.into_iter().chain(outdated).collect();
    RolloutStep { nodes, remaining_nodes, rollout: Rollout::Progressing }
}

/// Whether the NodeRuntime points at the profile and is owned by this node, not by an older one of the same name.
fn is_updated(runtime: &NodeRuntime, validated: &ValidatedStack, uid: &str) -> bool {
    runtime.spec.profile_ref.as_ref() == Some(&validated.profile)
        && runtime.owner_references().iter().any(|owner| owner.kind == "Node" && owner.uid == uid)
}

fn has_applied(runtime: &NodeRuntime) -> bool {
    runtime.status.as_ref().is_some_and(|status| status.applied_profile == runtime.spec.profile_ref)
}

/// Whether the agent has applied the profile and its condition Ready became false after the update. A node that failed
/// before the update, e.g. because its kernel is too old for a layer, says nothing about the change.
fn fails_since_update(runtime: &NodeRuntime) -> bool {
    let conditions = runtime.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let updated_at = spec_written_at(runtime);
    has_applied(runtime)
        && find(conditions, ConditionType::Ready).is_some_and(|ready| {
            ready.status == ConditionStatus::False
                && updated_at.is_none_or(|updated_at| ready.last_transition_time >= updated_at)
        })
}
