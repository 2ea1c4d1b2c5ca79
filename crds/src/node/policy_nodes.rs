//! Which nodes of the stack a policy is for: those that its `spec.nodeSelector` selects. Each agent asks this of its own labels, and the
//! operator counts the others as skipped.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::part::PartContent;
use crate::selector::{self, Labels};

impl PartContent {
    /// The nodes of a policy that selects some; none for every node.
    pub fn node_selector(&self) -> Option<&LabelSelector> {
        match self {
            Self::Policy(part) => part.spec.node_selector.as_ref(),
            Self::Processes(_) | Self::Tracepoints(_) | Self::Flows(_) => None,
        }
    }

    /// Whether a node with these labels is meant. The planner has refused invalid selectors; one that gets here selects nothing.
    pub fn selects_node(&self, labels: &Labels) -> bool {
        self.node_selector().is_none_or(|selector| selector::matches(selector, labels).unwrap_or(false))
    }
}
