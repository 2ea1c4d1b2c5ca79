//! Counts nodes and groups their failures by reason and kernel. Counts and one example, never lists of nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use trilobite_crds::{
    Failure, NodeCounts, Reason,
    condition::cut,
    status::{MAX_FAILURES, MAX_MESSAGE},
};

use super::node::Standing;

/// Most characters of a reason, as in the schema.
const MAX_REASON: usize = 64;

/// What the nodes together say about one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) counts: NodeCounts,
    groups: BTreeMap<(String, String), Failure>,
    /// When a node's patience ends, the earliest.
    pub(crate) next: Option<Timestamp>,
}

impl Tally {
    pub(crate) fn excluded(&mut self) {
        self.counts.excluded += 1;
    }

    /// Takes in one counted node.
    pub(crate) fn count(&mut self, node: &str, kernel: &str, standing: Standing) {
        self.counts.desired += 1;
        let told = match standing {
            Standing::Ready => {
                self.counts.ready += 1;
                true
            }
            Standing::Pending { told, until } => {
                self.wake(until);
                told
            }
            Standing::Failing { told, reason, message } => {
                self.counts.failing += 1;
                let reason = if is_word(&reason) { reason } else { Reason::LoadFailed.as_str().to_owned() };
                let group = self.groups.entry((reason.clone(), kernel.to_owned())).or_insert_with(|| Failure {
                    count: 0,
                    example_node: node.to_owned(),
                    kernel: cut(kernel, 128),
                    message: cut(&message, MAX_MESSAGE),
                    reason,
                });
                group.count += 1;
                told
            }
        };
        self.counts.updated += i32::from(told);
    }

    /// Asks to be evaluated again at that time.
    pub(crate) fn wake(&mut self, at: Option<Timestamp>) {
        self.next = match (self.next, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Counted nodes that have neither what is wanted nor a failure yet.
    pub(crate) fn pending(&self) -> i32 {
        self.counts.desired - self.counts.ready - self.counts.failing
    }

    /// The most frequent first, at most ten.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        let mut failures: Vec<_> = self.groups.values().cloned().collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        failures.truncate(MAX_FAILURES);
        failures
    }

    /// The one reason of all failures, if there is one.
    pub(crate) fn only_reason(&self) -> Option<&str> {
        let mut reasons = self.groups.keys().map(|(reason, _)| reason.as_str());
        let first = reasons.next()?;
        reasons.all(|reason| reason == first).then_some(first)
    }
}

/// Whether the API server takes it for a reason: one that it does not take would keep the whole status from people.
fn is_word(reason: &str) -> bool {
    (1..=MAX_REASON).contains(&reason.len())
        && reason.starts_with(|first: char| first.is_ascii_uppercase())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(reason: &str) -> Standing {
        Standing::Failing { told: true, reason: reason.into(), message: format!("{reason}: do this") }
    }

    #[test]
    fn failures_are_grouped_by_reason_and_kernel_with_the_most_frequent_first() {
        let mut tally = Tally::default();
        tally.count("reef-1", "5.10", failing("AgentSilent"));
        tally.count("reef-2", "6.12", failing("VerifierRejected"));
        tally.count("reef-3", "6.12", failing("VerifierRejected"));
        tally.count("reef-4", "5.10", failing("VerifierRejected"));
        let lines: Vec<_> =
            tally.failures().into_iter().map(|f| (f.count, f.reason, f.kernel, f.example_node)).collect();
        assert_eq!(lines[0], (2, "VerifierRejected".into(), "6.12".into(), "reef-2".into()));
        assert_eq!(lines.len(), 3);
        assert_eq!(tally.only_reason(), None);
    }

    #[test]
    fn a_word_that_no_status_may_hold_is_told_as_one_that_it_may() {
        let mut tally = Tally::default();
        let words = ["", "no such thing", "lower", "Ünknown"].map(String::from);
        for word in words.iter().chain([&"X".repeat(65)]) {
            tally.count("reef-1", "6.12", failing(word));
        }
        tally.count("reef-1", "6.12", failing("OfANewerAgent"));
        let reasons: Vec<_> = tally.failures().into_iter().map(|failure| (failure.reason, failure.count)).collect();
        assert_eq!(reasons, [("LoadFailed".to_owned(), 5), ("OfANewerAgent".to_owned(), 1)]);
    }

    #[test]
    fn however_many_reasons_there_are_only_ten_groups_are_shown() {
        let mut tally = Tally::default();
        for number in 0..30 {
            tally.count("reef", &number.to_string(), failing("KernelTooOld"));
        }
        assert_eq!(tally.failures().len(), 10);
        assert_eq!(tally.counts.failing, 30);
        assert_eq!(tally.only_reason(), Some("KernelTooOld"));
    }
}
