//! How much of the cluster an answer covers: which nodes were asked, which answered, and what was lost.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;
use trilobite_api::read_scope::ReadScope;
use trilobite_untrusted_text::prefix;

use super::node_failure::{Cause, NodeFailure};

/// Problems that are named; the counts are complete.
const MAX_PROBLEMS: usize = 10;
/// Bytes of the text of one problem.
const MAX_MESSAGE: usize = 256;

/// The member `coverage` of a list, and the annotation `trilobite.dev/coverage` of a bookmark. What nodes said is in the answer
/// to a request of the whole cluster alone: their addresses and errors are no tenant's business.
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
    /// Not reached, or no answer within the limit.
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

impl From<Cause> for NodeState {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Unreachable | Cause::Late => Self::Late,
            Cause::Refused | Cause::OtherVersion | Cause::InvalidQuery => Self::Refused,
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
#[derive(Debug)]
pub struct CoverageTracker {
    tracked: watch::Sender<Tracked>,
    /// The answer is one of the whole cluster.
    with_details: bool,
}

#[derive(Debug, Default)]
struct Tracked {
    nodes: BTreeMap<String, TrackedNode>,
    lost: u64,
    interrupted: u64,
}

#[derive(Clone, Debug)]
enum TrackedNode {
    Asked,
    Answered,
    Failed(NodeFailure),
}

impl TrackedNode {
    fn is_invalid_query(&self) -> bool {
        matches!(self, Self::Failed(NodeFailure { cause: Cause::InvalidQuery, .. }))
    }
}

impl Tracked {
    fn is_decided(&self) -> bool {
        let mut nodes = self.nodes.values();
        nodes.clone().any(|node| matches!(node, TrackedNode::Answered))
            || nodes.all(|node| !matches!(node, TrackedNode::Asked))
    }
}

impl CoverageTracker {
    pub fn new(scope: &ReadScope) -> Self {
        Self { tracked: watch::Sender::default(), with_details: scope.is_everything() }
    }

    pub fn set_asked(&self, node: &str) {
        self.set(node, TrackedNode::Asked);
    }

    pub fn set_answered(&self, node: &str) {
        self.set(node, TrackedNode::Answered);
    }

    pub fn set_failed(&self, node: &str, mut failure: NodeFailure) {
        failure.detail.truncate(prefix(&failure.detail, MAX_MESSAGE).len());
        self.set(node, TrackedNode::Failed(failure));
    }

    fn set(&self, node: &str, state: TrackedNode) {
        self.tracked.send_modify(|tracked| {
            tracked.nodes.insert(node.to_owned(), state);
        });
    }

    /// A node that has left the cluster.
    pub fn remove(&self, node: &str) {
        self.tracked.send_modify(|tracked| {
            tracked.nodes.remove(node);
        });
    }

    /// Rows that a node has lost; without their number it counts as an interruption.
    pub fn add_lost(&self, count: u64) {
        if count == 0 {
            return self.add_interruption();
        }
        self.tracked.send_modify(|tracked| tracked.lost += count);
    }

    pub fn add_interruption(&self) {
        self.tracked.send_modify(|tracked| tracked.interrupted += 1);
    }

    /// Waits until a node has answered, or all have been given up.
    pub async fn decided(&self) {
        // The sender lives as long as `self`.
        let _ = self.tracked.subscribe().wait_for(Tracked::is_decided).await;
    }

    /// Waits until no node has still time to answer.
    pub async fn settled(&self) {
        let is_settled = |tracked: &Tracked| tracked.nodes.values().all(|node| !matches!(node, TrackedNode::Asked));
        let _ = self.tracked.subscribe().wait_for(is_settled).await;
    }

    /// Why every node refuses the query itself, if all do.
    pub fn invalid_query(&self) -> Option<String> {
        let tracked = self.tracked.borrow();
        let mut nodes = tracked.nodes.values();
        if !nodes.clone().all(TrackedNode::is_invalid_query) {
            return None;
        }
        match nodes.next()? {
            TrackedNode::Failed(failure) if self.with_details => Some(failure.detail.clone()),
            _ => Some("a selector is unknown to the agents, or they are of another version".to_owned()),
        }
    }

    /// The text for this answer's caller.
    pub fn message<'a>(&self, failure: &'a NodeFailure) -> &'a str {
        if self.with_details { &failure.detail } else { failure.cause.as_str() }
    }

    pub fn coverage(&self) -> Coverage {
        let tracked = self.tracked.borrow();
        let mut coverage = Coverage { lost: tracked.lost, interrupted: tracked.interrupted, ..Coverage::default() };
        for (node, tracked) in &tracked.nodes {
            coverage.nodes.asked += 1;
            let failure = match tracked {
                TrackedNode::Asked => continue,
                TrackedNode::Answered => {
                    coverage.nodes.answered += 1;
                    continue;
                }
                TrackedNode::Failed(failure) => failure,
            };
            let state = NodeState::from(failure.cause);
            match state {
                NodeState::Late => coverage.nodes.late += 1,
                _ => coverage.nodes.refused += 1,
            }
            if coverage.problems.len() < MAX_PROBLEMS {
                let message = self.message(failure).to_owned();
                coverage.problems.push(NodeProblem { node: node.clone(), state, message });
            }
        }
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_cluster() -> CoverageTracker {
        CoverageTracker::new(&ReadScope::Everything)
    }

    fn refused(detail: &str) -> NodeFailure {
        NodeFailure::new(Cause::Refused, detail)
    }

    #[test]
    fn counts_are_complete_and_problems_bounded() {
        let tracker = of_cluster();
        let late = NodeFailure::new(Cause::Late, "no answer within 2s");
        (0..30).for_each(|number| tracker.set_failed(&format!("node{number}"), late.clone()));
        tracker.set_asked("alder");
        tracker.set_answered("birch");
        tracker.add_lost(7);
        let coverage = tracker.coverage();
        assert_eq!(coverage.nodes, NodeCounts { asked: 32, answered: 1, late: 30, refused: 0 });
        assert_eq!((coverage.lost, coverage.problems.len()), (7, MAX_PROBLEMS));
    }

    #[test]
    fn loss_of_an_unknown_number_is_not_silent() {
        let tracker = of_cluster();
        tracker.add_lost(0);
        assert_eq!((tracker.coverage().lost, tracker.coverage().interrupted), (0, 1));
    }

    #[test]
    fn answer_starts_with_the_first_node_or_when_all_are_given_up() {
        let tracker = of_cluster();
        tracker.set_asked("alder");
        tracker.set_asked("birch");
        assert!(!tracker.tracked.borrow().is_decided());
        tracker.set_failed("alder", refused("no such filter"));
        assert!(!tracker.tracked.borrow().is_decided());
        tracker.set_failed("birch", refused("no such filter"));
        assert!(tracker.tracked.borrow().is_decided());
        tracker.set_answered("birch");
        assert!(tracker.tracked.borrow().is_decided());
    }

    #[test]
    fn query_is_invalid_only_if_every_node_says_so() {
        let tracker = of_cluster();
        assert_eq!(tracker.invalid_query(), None, "there is no node");
        tracker.set_failed("alder", NodeFailure::new(Cause::InvalidQuery, "no such filter"));
        assert_eq!(tracker.invalid_query().as_deref(), Some("no such filter"));
        tracker.set_failed("birch", refused("a foreign certificate"));
        assert_eq!(tracker.invalid_query(), None);
    }

    #[test]
    fn tenant_gets_the_word_of_each_cause_and_no_detail() {
        let tracker = CoverageTracker::new(&ReadScope::namespace("shop"));
        let detail = "10.0.0.7:4244: kernel says no";
        for cause in [Cause::Unreachable, Cause::Late, Cause::Refused, Cause::OtherVersion] {
            tracker.set_failed(cause.as_str(), NodeFailure::new(cause, detail));
        }
        let coverage = tracker.coverage();
        assert_eq!(coverage.nodes, NodeCounts { asked: 4, answered: 0, late: 2, refused: 2 });
        assert!(coverage.problems.iter().all(|problem| problem.message == problem.node), "{coverage:?}");
        assert!(!coverage.shortfall().contains("10.0.0.7"), "{}", coverage.shortfall());

        let tracker = CoverageTracker::new(&ReadScope::namespace("shop"));
        tracker.set_failed("alder", NodeFailure::new(Cause::InvalidQuery, detail));
        assert!(!tracker.invalid_query().unwrap().contains("10.0.0.7"));
    }

    #[test]
    fn long_message_is_cut_at_a_character() {
        let tracker = of_cluster();
        tracker.set_failed("alder", refused(&"é".repeat(200)));
        assert_eq!(tracker.coverage().problems[0].message, "é".repeat(128));
    }

    #[test]
    fn json_has_the_names_that_clients_read() {
        let tracker = of_cluster();
        tracker.set_failed("alder", refused("certificate"));
        let json = serde_json::to_string(&tracker.coverage()).unwrap();
        assert_eq!(
            json,
            r#"{"nodes":{"asked":1,"answered":0,"late":0,"refused":1},"lost":0,"problems":[{"node":"alder","state":"refused","message":"certificate"}]}"#
        );
    }
}
