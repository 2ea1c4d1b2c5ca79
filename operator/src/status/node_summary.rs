//! `NodeSummary`: node counts, and failures grouped by reason and kernel. Each group has one example node, never a
//! list.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use trilobite_crds::{
    Failure, NodeCounts, Reason,
    condition::{MAX_MESSAGE, cut},
    node::NodeProblem,
    status::MAX_FAILURES,
};

use super::{
    node_state::{NodeEvaluation, NodeState},
    silent_agents::SilentAgent,
};

/// Longest reason that the schema of conditions allows.
const MAX_REASON: usize = 64;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeSummary {
    pub(crate) counts: NodeCounts,
    /// Counted nodes whose agent has reported on all of what is requested.
    pub(crate) answered: i32,
    /// Counted nodes whose agent has reported at all.
    pub(crate) reported: i32,
    /// Counted nodes that fail until a user changes something.
    pub(crate) failing_for_good: i32,
    /// Nodes that do not count because they are new; the other excluded ones are being deleted.
    pub(crate) joining: i32,
    /// Nodes that do not count because the policy's nodeSelector leaves them out.
    pub(crate) skipped: i32,
    /// Nodes that the stack does not select: of the cluster, or of those that run a session's pods.
    pub(crate) unselected: i32,
    /// Pods that a policy selects on the nodes that have it active.
    pub(crate) pods_selected: i32,
    /// Agents that are silent, and whose NodeRuntime does not say so yet; for the stack only.
    pub(crate) silent: Vec<SilentAgent>,
    /// What nodes say of a policy that is active as asked: reason and text.
    pub(crate) notes: BTreeSet<(String, String)>,
    groups: BTreeMap<(String, String), Failure>,
    /// Nodes whose port for the relay is closed, whatever their state otherwise.
    ports: BTreeMap<(String, String), Failure>,
    /// When to compute the status again although nothing changes: the earliest end of a grace period or session.
    pub(crate) recompute_at: Option<Timestamp>,
}

impl NodeSummary {
    /// Adds a node that does not count because it is being deleted.
    pub(crate) fn add_leaving(&mut self) {
        self.counts.excluded += 1;
    }

    /// Adds a node that does not count because the policy's nodeSelector leaves it out.
    pub(crate) fn add_skipped(&mut self) {
        (self.counts.excluded, self.skipped) = (self.counts.excluded + 1, self.skipped + 1);
    }

    /// Adds a node that does not count because it is new.
    pub(crate) fn add_joining(&mut self) {
        (self.counts.excluded, self.joining) = (self.counts.excluded + 1, self.joining + 1);
    }

    pub(crate) fn add(&mut self, node: &str, kernel: &str, evaluation: NodeEvaluation) {
        let NodeEvaluation { state, updated, answered, reported } = evaluation;
        self.counts.desired += 1;
        self.counts.updated += i32::from(updated);
        self.answered += i32::from(answered);
        self.reported += i32::from(reported);
        match state {
            NodeState::Ready { until } => {
                self.counts.ready += 1;
                self.recompute_by(until);
            }
            NodeState::Pending { until } => self.recompute_by(until),
            NodeState::Failing { reason, message } => self.add_failing(node, kernel, reason, &message),
        }
    }

    fn add_failing(&mut self, node: &str, kernel: &str, reason: String, message: &str) {
        self.counts.failing += 1;
        let reason = if is_valid_reason(&reason) { reason } else { Reason::LoadFailed.as_str().to_owned() };
        self.failing_for_good += i32::from(reason.parse::<Reason>().is_ok_and(Reason::is_deterministic));
        add_to_group(&mut self.groups, node, kernel, reason, message);
    }

    /// Adds a node that is ready or not, and whose port for the relay is closed.
    pub(crate) fn add_closed_port(&mut self, node: &str, kernel: &str, problem: &NodeProblem) {
        add_to_group(&mut self.ports, node, kernel, problem.reason.clone(), &problem.message);
    }

    pub(crate) fn recompute_by(&mut self, at: Option<Timestamp>) {
        self.recompute_at = match (self.recompute_at, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Counted nodes that are neither ready nor failing.
    pub(crate) fn pending(&self) -> i32 {
        self.counts.desired - self.counts.ready - self.counts.failing
    }

    /// At most `MAX_FAILURES` groups, the most frequent first.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        most_frequent(&self.groups)
    }

    /// The same for closed ports.
    pub(crate) fn closed_ports(&self) -> Vec<Failure> {
        most_frequent(&self.ports)
    }

    /// The reason of all failures, if they have only one.
    pub(crate) fn single_reason(&self) -> Option<&str> {
        let mut reasons = self.groups.keys().map(|(reason, _)| reason.as_str());
        let first = reasons.next()?;
        reasons.all(|reason| reason == first).then_some(first)
    }
}

fn add_to_group(
    groups: &mut BTreeMap<(String, String), Failure>,
    node: &str,
    kernel: &str,
    reason: String,
    message: &str,
) {
    let group = groups.entry((reason.clone(), kernel.to_owned())).or_insert_with(|| Failure {
        count: 0,
        example_node: node.to_owned(),
        kernel: cut(kernel, 128),
        message: cut(message, MAX_MESSAGE),
        reason,
    });
    group.count += 1;
}

fn most_frequent(groups: &BTreeMap<(String, String), Failure>) -> Vec<Failure> {
    let mut failures: Vec<_> = groups.values().cloned().collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    failures.truncate(MAX_FAILURES);
    failures
}

/// Whether the API server accepts it as a reason of a condition; it would reject the whole status otherwise.
fn is_valid_reason(reason: &str) -> bool {
    (1..=MAX_REASON).contains(&reason.len())
        && reason.starts_with(|first: char| first.is_ascii_uppercase())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(reason: &str) -> NodeEvaluation {
        let state = NodeState::Failing { reason: reason.into(), message: format!("{reason}: do this") };
        NodeEvaluation { state, updated: true, answered: true, reported: true }
    }

    #[test]
    fn failures_are_grouped_and_the_most_frequent_comes_first() {
        let mut summary = NodeSummary::default();
        summary.add("reef-1", "5.10", failing("AgentSilent"));
        summary.add("reef-2", "6.12", failing("VerifierRejected"));
        summary.add("reef-3", "6.12", failing("VerifierRejected"));
        summary.add("reef-4", "5.10", failing("VerifierRejected"));
        let lines: Vec<_> =
            summary.failures().into_iter().map(|f| (f.count, f.reason, f.kernel, f.example_node)).collect();
        assert_eq!(lines[0], (2, "VerifierRejected".into(), "6.12".into(), "reef-2".into()));
        assert_eq!(lines.len(), 3);
        assert_eq!(summary.single_reason(), None);
    }

    #[test]
    fn an_invalid_reason_becomes_load_failed() {
        let mut summary = NodeSummary::default();
        let reasons = ["", "no such thing", "lower", "Ünknown"].map(String::from);
        for reason in reasons.iter().chain([&"X".repeat(65)]) {
            summary.add("reef-1", "6.12", failing(reason));
        }
        summary.add("reef-1", "6.12", failing("OfANewerAgent"));
        let groups: Vec<_> = summary.failures().into_iter().map(|failure| (failure.reason, failure.count)).collect();
        assert_eq!(groups, [("LoadFailed".to_owned(), 5), ("OfANewerAgent".to_owned(), 1)]);
    }

    #[test]
    fn only_ten_groups_are_shown() {
        let mut summary = NodeSummary::default();
        for number in 0..30 {
            summary.add("reef", &number.to_string(), failing("KernelTooOld"));
        }
        assert_eq!(summary.failures().len(), 10);
        assert_eq!(summary.counts.failing, 30);
        assert_eq!(summary.single_reason(), Some("KernelTooOld"));
    }
}
