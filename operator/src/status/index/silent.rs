//! Which agents count as silent. Pure; time is an argument.

use std::collections::BTreeSet;

use jiff::Timestamp;
use trilobite_crds::{Reason, node::SourceKind};

use super::{Entry, Index};
use crate::status::{
    controller_report::Requested,
    node_state::{NodeState, evaluate_node},
    silent_agents::SilentAgent,
};

impl Index {
    /// Agents that are silent at `now`, and whose NodeRuntime does not say so yet.
    pub(crate) fn silent_agents(&self, now: Timestamp) -> Vec<SilentAgent> {
        let stack = self.entries.iter().find(|(key, _)| key.kind == SourceKind::ObservabilityStack);
        match stack {
            Some((_, entry)) if matches!(entry.input.requested, Requested::Profile(_)) => {
                let live_profiles = self.live_profiles(&entry.input);
                self.nodes.keys().filter_map(|node| self.silent_agent(node, entry, &live_profiles, now)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn silent_agent(
        &self,
        name: &str,
        stack: &Entry,
        live_profiles: &BTreeSet<String>,
        now: Timestamp,
    ) -> Option<SilentAgent> {
        let (node, selection) = (self.nodes.get(name)?, self.selection.as_ref()?);
        let agent = self.agent_on(name);
        if node.deleting || !selection.selects(&node.labels, &node.taints, agent.is_some()) {
            return None;
        }
        let view = self.view(name, node, agent, stack, selection, now);
        let runtime = view.runtime.filter(|runtime| !runtime.ready_unknown)?;
        match evaluate_node(&view, &stack.input, live_profiles, self.grace, now).state {
            NodeState::Failing { reason, message } if is_silent(&reason) => Some(SilentAgent {
                node: name.to_owned(),
                uid: runtime.uid.clone(),
                observed_generation: runtime.observed_generation.unwrap_or_default(),
                message,
            }),
            _ => None,
        }
    }
}

/// Without a pod there is no agent that could report.
fn is_silent(reason: &str) -> bool {
    [Reason::AgentSilent, Reason::PodSecurityForbidden].iter().any(|silent| silent.as_str() == reason)
}
