//! The words that the operator's statuses and Events consist of, in one place. What, where, what next; at most 200 characters.
//! The planner's own words stand in its refusals, the agent's in its problems.

use jiff::Timestamp;
use trilobite_crds::{Failure, NodeCounts, Reason, Refusal};

/// `12,345`.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn nodes(count: i32) -> String {
    format!("{} node{}", number(count.into()), if count == 1 { "" } else { "s" })
}

/// `2/2`, for the printed column.
pub(super) fn ready_nodes(counts: &NodeCounts) -> String {
    format!("{}/{}", counts.ready, counts.desired)
}

/// `9,987 of 10,000 nodes ready`.
fn so_many_ready(counts: &NodeCounts) -> String {
    format!("{} of {} ready", number(counts.ready.into()), nodes(counts.desired))
}

/// The sentence above the Events of `kubectl describe`.
pub(super) fn summary(counts: &NodeCounts, failures: &[Failure]) -> String {
    let mut text = so_many_ready(counts);
    if counts.excluded > 0 {
        text += &format!("; {} not counted yet", number(counts.excluded.into()));
    }
    if counts.failing > 0 {
        let groups: Vec<String> = failures.iter().map(group).collect();
        text += &format!("; {} failing: {}", number(counts.failing.into()), groups.join(", "));
    }
    text
}

fn group(failure: &Failure) -> String {
    let kernel = if failure.kernel.is_empty() { String::new() } else { format!(" (kernel {})", failure.kernel) };
    format!("{} x{}{kernel}", failure.reason, number(failure.count.into()))
}

/// The most frequent failure: how many, where, one example, what next.
pub(super) fn worst(failures: &[Failure]) -> String {
    let Some(first) = failures.first() else { return "nothing is wrong".into() };
    let kernel = if first.kernel.is_empty() { String::new() } else { format!(" (kernel {})", first.kernel) };
    format!("{} on {}{kernel}, as {}: {}", first.reason, nodes(first.count), first.example_node, first.message)
}

pub(super) fn accepted() -> &'static str {
    "the spec can be carried out"
}

/// The first thing that is wrong, and how many more there are.
pub(super) fn refused(refusals: &[Refusal]) -> String {
    let Some(first) = refusals.first() else { return String::new() };
    match refusals.len() - 1 {
        0 => first.message.clone(),
        more => format!("{} (and {more} more)", trilobite_crds::condition::cut(&first.message, 180)),
    }
}

pub(super) fn not_accepted() -> &'static str {
    "the spec was not accepted; see the condition Accepted"
}

pub(super) fn all_applied(counts: &NodeCounts) -> String {
    format!("{} told and answered", nodes(counts.desired))
}

pub(super) fn rolling_out(counts: &NodeCounts) -> String {
    format!(
        "{} of {} told, {} ready",
        number(counts.updated.into()),
        nodes(counts.desired),
        number(counts.ready.into())
    )
}

pub(super) fn waiting_for_agents(counts: &NodeCounts) -> String {
    if counts.desired == 0 {
        return format!("{} joined a short while ago; waiting for their agents", nodes(counts.excluded));
    }
    format!("waiting for the agents of {}; see kubectl -n trilobite-system get pods", nodes(counts.desired))
}

pub(super) fn no_matching_nodes() -> &'static str {
    "no node matches spec.runtime.nodeSelector and tolerations; correct them, or label a node"
}

pub(super) fn no_matching_nodes_here() -> &'static str {
    "no node matches the stack's nodeSelector and tolerations, so this is in force nowhere; see the stack's status"
}

pub(super) fn no_matching_pods() -> &'static str {
    "no running pod matches spec.podSelector; compare it with kubectl get pods --show-labels"
}

pub(super) fn looking_for_pods() -> &'static str {
    "looking for the pods that spec.podSelector matches"
}

pub(super) fn halted(failing: usize, told: usize) -> String {
    format!(
        "stopped: {failing} of {told} nodes that were told of the change fail with it; correct the stack, or the nodes that \
         failures names"
    )
}

pub(super) fn ready(counts: &NodeCounts) -> String {
    so_many_ready(counts)
}

pub(super) fn too_many_failing(counts: &NodeCounts, failures: &[Failure]) -> String {
    format!("{} of {} failing: {}", number(counts.failing.into()), nodes(counts.desired), worst(failures))
}

pub(super) fn suspended_stack() -> &'static str {
    "suspended: nothing is loaded on any node; set spec.suspend to false to go on"
}

pub(super) fn suspended() -> &'static str {
    "the stack is suspended, so this is in force nowhere; set its spec.suspend to false"
}

pub(super) fn pending() -> &'static str {
    "the operator has not planned this yet"
}

pub(super) fn as_expected() -> &'static str {
    "nothing is wrong"
}

/// Both what a session made and what it lost.
pub(super) fn records(what: &str, records: i64, lost: i64, on: i32) -> String {
    format!("{} {what} from {}, {} lost", number(records), nodes(on), number(lost))
}

pub(super) fn running_until(end: Timestamp, so_far: &str) -> String {
    format!("running until {}: {so_far}", at_second(end))
}

pub(super) fn ended(so_far: &str) -> String {
    format!("ended when its time was over: {so_far}")
}

pub(super) fn ended_early(so_far: &str) -> String {
    format!("ended on every node before its time was over: {so_far}")
}

fn at_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

pub(super) fn agent_missing(node: &str) -> String {
    format!(
        "no agent pod on the node; see kubectl -n trilobite-system describe daemonset trilobite-node, and node {node}"
    )
}

pub(super) fn agent_does_not_run(node: &str) -> String {
    format!(
        "the agent's pod does not run; see kubectl -n trilobite-system get pods --field-selector spec.nodeName={node}"
    )
}

pub(super) fn agent_waits(node: &str, word: &str) -> String {
    let word = trilobite_crds::condition::cut(word, 40);
    format!(
        "the agent does not run ({word}); see kubectl -n trilobite-system describe pods --field-selector spec.nodeName={node}"
    )
}

pub(super) fn agent_not_ready(node: &str) -> String {
    format!(
        "the agent runs but is not ready; see kubectl -n trilobite-system describe pods --field-selector spec.nodeName={node}"
    )
}

pub(super) fn agent_has_not_answered(node: &str) -> String {
    format!("the agent has not said that it did what noderuntime {node} asks; see its logs in trilobite-system")
}

pub(super) fn pods_forbidden(why: &str) -> String {
    let next = "kubectl label namespace trilobite-system pod-security.kubernetes.io/enforce=privileged";
    let why = trilobite_crds::condition::cut(why, 60);
    format!("the agent's pods are forbidden ({why}); run: {next}")
}

pub(super) fn session_refused(node: &str) -> String {
    format!("the agent refused the session; see kubectl describe noderuntime {node}")
}

/// The operator itself failed at something.
pub(crate) fn trouble(error: &str) -> String {
    format!("tries again: {error}")
}

/// The API server denies the operator something.
pub(crate) fn denied(error: &str) -> String {
    format!("{error}; compare the operator's ClusterRole and Role with the chart's")
}

/// A stored object that this version cannot read.
pub(crate) fn unreadable(error: &str) -> String {
    format!("cannot be read: {error}")
}

/// There is no stack.
pub(crate) fn no_stack() -> &'static str {
    "there is no ObservabilityStack, so nothing can be in force; apply one named default"
}

/// A value of the namespace's label that stands for nothing.
pub(crate) fn unknown_label(label: &str, value: &str, known: &[&str]) -> String {
    format!("label {label}: {value:?} stands for nothing, so no AppProfile is made; it must be {}", known.join(" or "))
}

/// An AppProfile that stands in the way of the one that the label asks for.
pub(crate) fn label_conflict(name: &str) -> String {
    format!("AppProfile {name} exists and was not made from the namespace's label; delete it or rename it")
}

/// The word of a kind of trouble, for Events.
pub(super) fn event_action(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidSpec | Reason::Unsupported | Reason::LayerDisabled | Reason::NoStack => "Validating",
        _ => "Reconciling",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(count: i32) -> Failure {
        Failure {
            count,
            example_node: "reef-7".into(),
            kernel: "5.10.0-32".into(),
            message: "the kernel's verifier rejected on_exec".into(),
            reason: "VerifierRejected".into(),
        }
    }

    #[test]
    fn a_summary_says_how_many_and_what_is_wrong() {
        let counts = NodeCounts { desired: 10_000, excluded: 4, failing: 213, ready: 9_787, updated: 10_000 };
        assert_eq!(
            summary(&counts, &[failure(213)]),
            "9,787 of 10,000 nodes ready; 4 not counted yet; 213 failing: VerifierRejected x213 (kernel 5.10.0-32)"
        );
    }

    #[test]
    fn a_failure_says_on_how_many_nodes_an_example_and_the_message() {
        assert_eq!(
            worst(&[failure(1)]),
            "VerifierRejected on 1 node (kernel 5.10.0-32), as reef-7: the kernel's verifier rejected on_exec"
        );
    }

    #[test]
    fn what_to_do_next_survives_the_longest_node_name_that_clouds_give() {
        let node = "ip-10-200-100-100.eu-central-1.compute.internal";
        for text in [
            agent_missing(node),
            agent_does_not_run(node),
            agent_waits(node, "CreateContainerConfigError"),
            agent_not_ready(node),
            agent_has_not_answered(node),
            pods_forbidden(&"violates PodSecurity \"baseline:latest\": host namespaces".repeat(3)),
            no_matching_nodes().into(),
        ] {
            assert!(text.chars().count() <= 200, "{}: {text}", text.chars().count());
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([number(0), number(999), number(1_000), number(-1_234_567)], ["0", "999", "1,000", "-1,234,567"]);
    }
}
