//! Whether the agent of a node counts as silent. Pure.

use trilobite_crds::Reason;

use crate::status::{
    node_state::{NodeState, NodeView},
    silent_agents::SilentAgent,
};

/// The silent agent of a node in this state of the stack, if its NodeRuntime does not say so yet.
pub(super) fn silent_agent(view: &NodeView<'_>, state: &NodeState) -> Option<SilentAgent> {
    let runtime = view.runtime.filter(|runtime| !runtime.ready_unknown)?;
    match state {
        NodeState::Failing { reason, message } if is_silent(reason) => Some(SilentAgent {
            node: view.name.to_owned(),
            uid: runtime.uid.clone(),
            observed_generation: runtime.observed_generation.unwrap_or_default(),
            message: message.clone(),
        }),
        _ => None,
    }
}

/// Without a pod there is no agent that could report.
fn is_silent(reason: &str) -> bool {
    [Reason::AgentSilent, Reason::PodSecurityForbidden].iter().any(|silent| silent.as_str() == reason)
}
