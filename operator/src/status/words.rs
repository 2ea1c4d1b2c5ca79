//! The words that the operator's statuses and Events consist of, in one place. What, where, what next; at most 200 characters.
//! The planner's own words stand in its refusals, the agent's in its problems.

use jiff::Timestamp;
use trilobite_crds::{
    Failure, NodeCounts, Reason, Refusal,
    condition::cut,
    node::SourceKind,
    stack::Layer,
    status::{MAX_MESSAGE, MAX_SUMMARY},
};

use super::fit::fit;

/// What the API server says where a cluster limits system-node-critical to namespaces with a quota for it.
const PRIORITY_IS_LIMITED: &str = "insufficient quota to match these scopes";

/// Groups of failures that a summary names.
const GROUPS: usize = 3;

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

/// The sentence above the Events of `kubectl describe`: the most frequent groups, and how many more there are.
pub(super) fn summary(counts: &NodeCounts, failures: &[Failure]) -> String {
    let mut text = so_many_ready(counts);
    if counts.excluded > 0 {
        text += &format!("; {} not counted yet", number(counts.excluded.into()));
    }
    if counts.failing > 0 {
        let groups: Vec<String> = failures.iter().take(GROUPS).map(group).collect();
        text += &format!("; {} failing: {}", number(counts.failing.into()), groups.join(", "));
        if let more @ 1.. = failures.len().saturating_sub(GROUPS) {
            text += &format!(", and {more} more");
        }
    }
    cut(&text, MAX_SUMMARY)
}

/// A spec of which a part is refused, though the rest is carried out.
pub(super) fn summary_of_refused(refusals: &[Refusal], rest: Option<&str>) -> String {
    let first = refused(refusals);
    cut(&rest.map_or(first.clone(), |rest| format!("{first}; {rest}")), MAX_SUMMARY)
}

fn group(failure: &Failure) -> String {
    format!("{} x{}{}", cut(&failure.reason, 64), number(failure.count.into()), kernel(failure))
}

fn kernel(failure: &Failure) -> String {
    if failure.kernel.is_empty() { String::new() } else { format!(" (kernel {})", cut(&failure.kernel, 48)) }
}

/// The most frequent failure: how many, where, one example, what next.
pub(super) fn worst(failures: &[Failure]) -> String {
    worst_behind("", failures)
}

/// What is known of a failure gives way, a piece at a time, so that the next step is there whole.
fn worst_behind(lead: &str, failures: &[Failure]) -> String {
    let Some(first) = failures.first() else { return "nothing is wrong".into() };
    let Failure { reason, count, example_node: node, message, .. } = first;
    let on = nodes(*count);
    // The kernel is told where nothing has to give way to it: `failures` has it all the same.
    let with_kernel = kernel(first);
    let whole = format!("{lead}{reason} on {on}{with_kernel}, as {node}: {message}").chars().count();
    let kernel = if whole <= MAX_MESSAGE { with_kernel } else { String::new() };
    let mut leads = vec![
        format!("{lead}{reason} on {on}{kernel}, as {node}: "),
        format!("{lead}{reason} on {on}, as {node}: "),
        format!("{lead}{reason} on {on}: "),
        format!("{reason} on {on}: "),
        format!("{reason}: "),
    ];
    // Most next steps name the node by themselves.
    if message.contains(node.as_str()) {
        leads.insert(1, format!("{lead}{reason} on {on}{kernel}: "));
        leads.remove(2);
    }
    fit(&leads, message, MAX_MESSAGE)
}

pub(super) fn accepted() -> &'static str {
    "the spec can be carried out"
}

/// The first thing that is wrong, and how many more there are.
pub(super) fn refused(refusals: &[Refusal]) -> String {
    let Some(first) = refusals.first() else { return String::new() };
    let all: u32 = refusals.iter().map(|refusal| 1 + refusal.unlisted).sum();
    let more = match all - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    fit(&[String::new()], &first.message, MAX_MESSAGE - more.chars().count()) + &more
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

pub(super) fn waiting_for_agents(namespace: &str, counts: &NodeCounts) -> String {
    if counts.desired == 0 {
        return format!("{} joined a short while ago; waiting for their agents", nodes(counts.excluded));
    }
    format!("waiting for the agents of {}; see kubectl -n {namespace} get pods", nodes(counts.desired))
}

pub(super) fn no_matching_nodes() -> &'static str {
    "no node matches spec.runtime.nodeSelector and tolerations; correct them, or label a node"
}

pub(super) fn no_matching_nodes_here() -> &'static str {
    "no node matches the stack's nodeSelector and tolerations, so this is in force nowhere; see the stack's status"
}

/// The pods are on nodes that run no agent.
pub(super) fn pods_elsewhere() -> &'static str {
    "the pods run only on nodes that the stack's nodeSelector and tolerations leave out; widen them, or move the pods"
}

/// The layer that this kind belongs to has a scope of its own.
pub(super) fn namespace_out_of_scope(kind: SourceKind, namespace: &str) -> String {
    let layer = if kind == SourceKind::AppProfile { Layer::Application } else { Layer::Network };
    let field = layer.field();
    format!("the stack's {field}.namespaceSelector leaves out namespace {namespace}; label the namespace, or widen it")
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
    worst_behind(&format!("{} of {} failing: ", number(counts.failing.into()), nodes(counts.desired)), failures)
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

pub(super) fn agent_missing(namespace: &str, node: &str) -> String {
    format!("no agent pod on the node; see kubectl -n {namespace} describe daemonset trilobite-node, and node {node}")
}

pub(super) fn agent_does_not_run(namespace: &str, node: &str) -> String {
    format!("the agent's pod does not run; see kubectl -n {namespace} get pods --field-selector spec.nodeName={node}")
}

pub(super) fn agent_waits(namespace: &str, node: &str, word: &str) -> String {
    let word = cut(word, 40);
    format!(
        "the agent does not run ({word}); see kubectl -n {namespace} describe pods --field-selector spec.nodeName={node}"
    )
}

pub(super) fn node_not_ready(node: &str) -> String {
    format!("the node is not heard of, so nobody knows how its agent fares; see kubectl describe node {node}")
}

pub(super) fn agent_not_ready(namespace: &str, node: &str) -> String {
    format!(
        "the agent runs but is not ready; see kubectl -n {namespace} describe pods --field-selector spec.nodeName={node}"
    )
}

pub(super) fn agent_has_not_answered(namespace: &str, node: &str) -> String {
    format!("the agent has not said that it did what noderuntime {node} asks; see its logs in {namespace}")
}

pub(super) fn pods_forbidden(namespace: &str, why: &str) -> String {
    let next = format!("kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged");
    let why = cut(why, 60);
    format!("the agent's pods are forbidden ({why}); run: {next}")
}

/// Something else than Pod Security keeps the agents' pods away.
pub(super) fn pods_refused(namespace: &str, why: &str) -> String {
    let next = if why.starts_with(PRIORITY_IS_LIMITED) {
        "set node.priorityQuota of the chart trilobite".to_owned()
    } else {
        format!("see kubectl -n {namespace} describe daemonset trilobite-node")
    };
    let why = cut(why, 60);
    format!("the agent's pod is refused ({why}); {next}")
}

/// A part that the agent names among what is not in force, without a reason.
pub(super) fn part_refused(namespace: &str, node: &str) -> String {
    format!(
        "node {node} refused it, and names the reasons of its first 20 problems only; correct those, or read the agent's \
         log in {namespace}"
    )
}

pub(super) fn session_refused(node: &str) -> String {
    format!("the agent refused the session; see kubectl describe noderuntime {node}")
}

pub(super) fn session_expired() -> &'static str {
    "its time was over before the agent could start it; see why the agent was away, and make another one"
}

pub(super) fn node_full(node: &str) -> String {
    format!(
        "noderuntime {node} holds as many sessions as it can; delete FlowCaptures and AppProfiles, or wait for their end"
    )
}

/// Kubernetes itself refuses what `spec.runtime` asks for.
pub(crate) fn not_taken(object: &str, why: &str) -> String {
    let why = why.split_once("is invalid: ").map_or(why, |(_, why)| why);
    // There is one container, and people have not written its path.
    let why = why.replace("spec.template.spec.containers[0].", "");
    let what = format!("Kubernetes refuses the agents' {object}: {why}; correct spec.runtime");
    fit(&["spec.runtime: ".into()], &what, MAX_MESSAGE)
}

/// The operator itself failed at something.
pub(crate) fn trouble(error: &str) -> String {
    format!("tries again: {error}")
}

/// One failure of several.
pub(crate) fn and_more(first: &str, more: usize) -> String {
    if more == 0 { first.into() } else { format!("{first} (and {more} more)") }
}

/// The API server denies the operator something.
pub(crate) fn denied(error: &str) -> String {
    let what = format!("{error}; compare the operator's ClusterRole and Role with the chart's");
    fit(&[String::new()], &what, MAX_MESSAGE)
}

/// A stored object that this version cannot read.
pub(crate) fn unreadable(error: &str) -> String {
    format!("cannot be read: {error}")
}

/// There is a stack, and nobody knows what it says.
pub(crate) fn stack_unreadable() -> &'static str {
    "the ObservabilityStack cannot be read, so nothing new is begun; see its condition Accepted"
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
