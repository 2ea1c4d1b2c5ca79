//! How much of the cluster an answer covers: which nodes were asked, which answered, and what was lost.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;

/// Problems that are named; the counts are complete.
const MAX_PROBLEMS: usize = 10;
/// Bytes of the text of one problem.
const MAX_MESSAGE: usize = 256;

/// The member `coverage` of a list, and the annotation `trilobite.dev/coverage` of a bookmark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    pub nodes: NodeCounts,
    /// Rows that agents, or this answer's queue, have lost.
    pub lost: u64,
    /// How often the stream of a node broke; rows of the time until it was open again may be missing.
    #[serde(skip_serializing_if = "is_zero")]
    pub interrupted: u64,
    /// Why nodes did not answer; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<NodeProblem>,
}

/// `asked` is the sum of the others and of those that have still time to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeCounts {
    pub asked: usize,
    pub answered: usize,
    /// Not reached, or no answer within its time.
    pub late: usize,
    pub refused: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeProblem {
    pub node: String,
    pub state: NodeState,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    Asked,
    Answered,
    Late,
    Refused,
}

impl NodeState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Answered => "answered",
            Self::Late => "late",
            Self::Refused => "refused",
        }
    }
}

impl NodeCounts {
    /// Whether no node has still time to answer.
    pub fn is_decided(self) -> bool {
        self.asked == self.answered + self.late + self.refused
    }
}

impl Coverage {
    /// Nodes that did not answer, for an error; empty if all did.
    pub fn shortfall(&self) -> String {
        let NodeCounts { asked, answered, .. } = self.nodes;
        match self.problems.first() {
            Some(NodeProblem { node, message, .. }) => {
                format!("{answered} of {asked} nodes answered; {node}: {message}")
            }
            None if answered < asked => format!("{answered} of {asked} nodes answered"),
            None => String::new(),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Coverage of an answer that is still being made.
#[derive(Debug, Default)]
pub struct CoverageTracker(watch::Sender<Tracked>);

#[derive(Debug, Default)]
struct Tracked {
    nodes: BTreeMap<String, TrackedNode>,
    lost: u64,
    interrupted: u64,
}

#[derive(Debug)]
struct TrackedNode {
    state: NodeState,
    message: String,
    /// The node refuses the query itself, as every node of its version does.
    is_invalid: bool,
}

impl Tracked {
    fn is_decided(&self) -> bool {
        let mut states = self.nodes.values().map(|node| node.state);
        states.clone().any(|state| state == NodeState::Answered) || states.all(|state| state != NodeState::Asked)
    }
}

impl CoverageTracker {
    pub fn set_asked(&self, node: &str) {
        self.set(node, NodeState::Asked, String::new(), false);
    }

    pub fn set_answered(&self, node: &str) {
        self.set(node, NodeState::Answered, String::new(), false);
    }

    pub fn set_late(&self, node: &str, message: impl Into<String>) {
        self.set(node, NodeState::Late, message.into(), false);
    }

    pub fn set_refused(&self, node: &str, message: impl Into<String>) {
        self.set(node, NodeState::Refused, message.into(), false);
    }

    pub fn set_invalid(&self, node: &str, message: impl Into<String>) {
        self.set(node, NodeState::Refused, message.into(), true);
    }

    fn set(&self, node: &str, state: NodeState, mut message: String, is_invalid: bool) {
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|end| message.is_char_boundary(*end));
            message.truncate(end.unwrap_or_default());
        }
        self.0.send_modify(|tracked| {
            tracked.nodes.insert(node.to_owned(), TrackedNode { state, message, is_invalid });
        });
    }

    /// A node that has left the cluster.
    pub fn remove(&self, node: &str) {
        self.0.send_modify(|tracked| {
            tracked.nodes.remove(node);
        });
    }

    pub fn add_lost(&self, count: u64) {
        self.0.send_modify(|tracked| tracked.lost += count);
    }

    pub fn add_interruption(&self) {
        self.0.send_modify(|tracked| tracked.interrupted += 1);
    }

    /// Waits until a node has answered, or all have been given up.
    pub async fn decided(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(Tracked::is_decided).await;
    }

    /// Waits until no node has still time to answer.
    pub async fn settled(&self) {
        let is_settled = |tracked: &Tracked| tracked.nodes.values().all(|node| node.state != NodeState::Asked);
        let _ = self.0.subscribe().wait_for(is_settled).await;
    }

    /// The message of a node if every node refuses the query itself.
    pub fn invalid_query(&self) -> Option<String> {
        let tracked = self.0.borrow();
        let all_refuse = tracked.nodes.values().all(|node| node.is_invalid);
        tracked.nodes.values().next().filter(|_| all_refuse).map(|node| node.message.clone())
    }

    pub fn coverage(&self) -> Coverage {
        let tracked = self.0.borrow();
        let mut coverage = Coverage { lost: tracked.lost, interrupted: tracked.interrupted, ..Coverage::default() };
        for (node, TrackedNode { state, message, .. }) in &tracked.nodes {
            coverage.nodes.asked += 1;
            match state {
                NodeState::Asked => continue,
                NodeState::Answered => coverage.nodes.answered += 1,
                NodeState::Late => coverage.nodes.late += 1,
                NodeState::Refused => coverage.nodes.refused += 1,
            }
            if !message.is_empty() && coverage.problems.len() < MAX_PROBLEMS {
                coverage.problems.push(NodeProblem { node: node.clone(), state: *state, message: message.clone() });
            }
        }
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_complete_and_problems_bounded() {
        let tracker = CoverageTracker::default();
        (0..30).for_each(|number| tracker.set_late(&format!("node{number}"), "no answer within 2s"));
        tracker.set_asked("alder");
        tracker.set_answered("birch");
        tracker.add_lost(7);
        let coverage = tracker.coverage();
        assert_eq!(coverage.nodes, NodeCounts { asked: 32, answered: 1, late: 30, refused: 0 });
        assert_eq!((coverage.lost, coverage.problems.len()), (7, MAX_PROBLEMS));
    }

    #[test]
    fn answer_starts_with_the_first_node_or_when_all_are_given_up() {
        let tracker = CoverageTracker::default();
        tracker.set_asked("alder");
        tracker.set_asked("birch");
        assert!(!tracker.0.borrow().is_decided());
        tracker.set_refused("alder", "no such filter");
        assert!(!tracker.0.borrow().is_decided());
        tracker.set_refused("birch", "no such filter");
        assert!(tracker.0.borrow().is_decided());
        tracker.set_answered("birch");
        assert!(tracker.0.borrow().is_decided());
    }

    #[test]
    fn query_is_invalid_only_if_every_node_says_so() {
        let tracker = CoverageTracker::default();
        assert_eq!(tracker.invalid_query(), None, "there is no node");
        tracker.set_invalid("alder", "no such filter");
        assert_eq!(tracker.invalid_query().as_deref(), Some("no such filter"));
        tracker.set_refused("birch", "a foreign certificate");
        assert_eq!(tracker.invalid_query(), None);
    }

    #[test]
    fn long_message_is_cut_at_a_character() {
        let tracker = CoverageTracker::default();
        tracker.set_refused("alder", "é".repeat(200));
        assert_eq!(tracker.coverage().problems[0].message, "é".repeat(128));
    }

    #[test]
    fn json_has_the_names_that_clients_read() {
        let tracker = CoverageTracker::default();
        tracker.set_refused("alder", "certificate");
        let json = serde_json::to_string(&tracker.coverage()).unwrap();
        assert_eq!(
            json,
            r#"{"nodes":{"asked":1,"answered":0,"late":0,"refused":1},"lost":0,"problems":[{"node":"alder","state":"refused","message":"certificate"}]}"#
        );
    }
}
