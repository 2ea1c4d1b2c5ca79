//! What is known of one policy, as it is printed.

use std::fmt;

use trilobite_crds::{
    ConditionStatus, ConditionType, Failure, Reason, ResourceStatus,
    condition::{Condition, find},
};

/// The operator's words for a reason that did not fit into an agent's list of problems.
const UNNAMED: &str = "first 20 problems only";

/// The answer about one policy, or about one file that cannot be read as policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    name: String,
    refused: bool,
    lines: Vec<String>,
    /// What was not checked, and why.
    pub(super) unchecked: Option<String>,
}

impl Verdict {
    pub(super) fn refused(name: String, lines: Vec<String>) -> Self {
        Self { name, refused: true, lines, unchecked: None }
    }

    /// The file is right, and no node was asked.
    pub(super) fn not_asked(name: String, why: &str) -> Self {
        let unchecked = Some(format!("whether the nodes' kernels have what it asks for: {why}"));
        Self { name, refused: false, lines: Vec::new(), unchecked }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether a node has refused it without saying why, because it had too many problems to list.
    pub(super) fn is_unnamed(&self) -> bool {
        self.lines.iter().any(|line| line.contains(UNNAMED))
    }

    /// What the status of a dry run says; none while nodes have still to answer.
    pub(super) fn of_status(name: &str, generation: i64, status: Option<&ResourceStatus>) -> Option<Self> {
        let status = status.filter(|status| status.observed_generation == generation)?;
        let condition = |kind| find(&status.conditions, kind);
        let accepted = condition(ConditionType::Accepted)?;
        if accepted.status == ConditionStatus::False {
            return Some(Self::of_refusal(name, accepted));
        }
        let ready = condition(ConditionType::Ready)?;
        let programmed = condition(ConditionType::Programmed)?;
        if is(ready, Reason::Suspended) {
            return Some(Self::not_asked(name.into(), &ready.message));
        }
        if is(ready, Reason::NoMatchingNodes) || is(ready, Reason::NoMatchingPods) {
            return Some(Self::refused(name.into(), vec![format!("{}: {}", ready.reason, ready.message)]));
        }
        (programmed.status == ConditionStatus::True).then(|| Self::of_answers(name, status, ready))
    }

    /// The same at the end of the time: some nodes have not answered.
    pub(super) fn of_late_nodes(name: &str, status: Option<&ResourceStatus>) -> Self {
        let programmed = status.and_then(|status| find(&status.conditions, ConditionType::Programmed));
        let why = programmed.map_or("the operator has not answered in time; see trilobite status", |it| &it.message);
        let mut verdict = Self::not_asked(name.into(), why);
        if let Some(failures) = status.map(|status| &status.failures).filter(|failures| !failures.is_empty()) {
            (verdict.refused, verdict.lines) = (true, failures.iter().map(line).collect());
        }
        verdict
    }

    fn of_refusal(name: &str, accepted: &Condition) -> Self {
        match accepted.reason.parse() {
            Ok(Reason::NoStack) => Self::not_asked(name.into(), &accepted.message),
            _ => Self::refused(name.into(), vec![format!("{}: {}", accepted.reason, accepted.message)]),
        }
    }

    fn of_answers(name: &str, status: &ResourceStatus, ready: &Condition) -> Self {
        if status.nodes.as_ref().is_some_and(|nodes| nodes.failing > 0) {
            let counts = status.nodes.clone().unwrap_or_default();
            let able = format!("{} of {} nodes could have it active", counts.ready, counts.desired);
            let lines = status.failures.iter().map(line).chain([able]).collect();
            return Self::refused(name.into(), lines);
        }
        Self { name: name.into(), refused: false, lines: vec![ready.message.clone()], unchecked: None }
    }
}

fn is(condition: &Condition, reason: Reason) -> bool {
    condition.reason == reason.as_str()
}

/// `NoSuchFunction on 2 nodes (kernel 5.10.0), e.g. node1: what is wrong`.
fn line(failure: &Failure) -> String {
    let Failure { count, example_node, kernel, message, reason } = failure;
    let kernel = if kernel.is_empty() { String::new() } else { format!(" (kernel {kernel})") };
    let nodes = if *count == 1 { "node" } else { "nodes" };
    format!("{reason} on {count} {nodes}{kernel}, e.g. {example_node}: {message}")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use trilobite_untrusted_text::escape;
        write!(f, "{}: {}", escape(&self.name), if self.refused { "refused" } else { "accepted" })?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {}", escape(line)))?;
        self.unchecked.iter().try_for_each(|what| write!(f, "\n  not checked: {}", escape(what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conditions: &[(&str, &str, &str, &str)], rest: &str) -> ResourceStatus {
        let conditions: Vec<String> = conditions
            .iter()
            .map(|(kind, status, reason, message)| {
                format!(
                    "{{type: {kind}, status: \"{status}\", reason: {reason}, message: \"{message}\", lastTransitionTime: \"1970-01-01T00:00:00Z\"}}"
                )
            })
            .collect();
        serde_yaml::from_str(&format!("{{observedGeneration: 1, conditions: [{}]{rest}}}", conditions.join(", ")))
            .unwrap()
    }

    const ACCEPTED: (&str, &str, &str, &str) = ("Accepted", "True", "Valid", "valid");
    const ANSWERED: (&str, &str, &str, &str) = ("Programmed", "True", "AllNodesApplied", "2 nodes updated");

    fn verdict(status: &ResourceStatus) -> Option<String> {
        Verdict::of_status("TracingPolicy/p", 1, Some(status)).map(|verdict| verdict.to_string())
    }

    #[test]
    fn nodes_that_have_still_to_answer_are_waited_for() {
        let waiting = ("Programmed", "False", "RollingOut", "1 of 2 nodes updated");
        let so_far = status(&[ACCEPTED, waiting, ("Ready", "False", "Progressing", "")], "");
        assert_eq!(verdict(&so_far), None);
        assert_eq!(Verdict::of_status("p", 2, Some(&so_far)), None, "of an older generation");
        assert_eq!(Verdict::of_status("p", 1, None), None);
        let late = Verdict::of_late_nodes("p", Some(&so_far));
        assert!(!late.is_refused());
        assert!(late.unchecked.unwrap().ends_with(": 1 of 2 nodes updated"));
    }

    #[test]
    fn accepted_policy_has_the_words_of_its_status() {
        let message = "dry run, nothing is loaded: 2 of 2 nodes could have it active; SignalIsLate: the call finishes";
        let good = status(&[ACCEPTED, ANSWERED, ("Ready", "False", "DryRun", message)], "");
        assert_eq!(verdict(&good).unwrap(), format!("TracingPolicy/p: accepted\n  {message}"));
    }

    #[test]
    fn refusing_nodes_are_grouped_as_in_the_status() {
        let rest = ", nodes: {desired: 3, ready: 1, failing: 2}, failures: [{count: 2, exampleNode: reef-1, kernel: 5.10.0, \
            reason: NoSuchFunction, message: \"spec.kprobes[0].call: no\"}]";
        let bad = status(&[ACCEPTED, ANSWERED, ("Ready", "False", "TooManyNodesFailing", "2 of 3")], rest);
        assert_eq!(
            verdict(&bad).unwrap(),
            "TracingPolicy/p: refused\n  NoSuchFunction on 2 nodes (kernel 5.10.0), e.g. reef-1: spec.kprobes[0].call: no\n  \
             1 of 3 nodes could have it active"
        );
    }

    #[test]
    fn cluster_without_a_stack_has_not_been_asked() {
        let none = status(&[("Accepted", "False", "NoStack", "there is no ObservabilityStack")], "");
        let text = verdict(&none).unwrap();
        assert!(text.starts_with("TracingPolicy/p: accepted\n  not checked: "), "{text}");
        let refused = status(&[("Accepted", "False", "LayerDisabled", "security is Disabled")], "");
        assert_eq!(verdict(&refused).unwrap(), "TracingPolicy/p: refused\n  LayerDisabled: security is Disabled");
    }
}
