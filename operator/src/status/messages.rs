//! The messages of conditions, summaries and Events: what is wrong, where, what to do next; at most 200 characters.
//! The planner's own messages are in its refusals, the agent's in its problems.

mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use trilobite_crds::{
    Failure, NodeCounts, Reason, Refusal,
    condition::{MAX_MESSAGE, cut},
    node::{Source, SourceKind},
    stack::Layer,
    status::MAX_SUMMARY,
};

pub(super) use self::requests::{
    encrypted, no_pods_in_namespaces, no_report_of_requests, no_traffic, other_protocol, role_not_seen, rows_of_nodes,
    rows_seen,
};
use super::{
    counts::{nodes, number},
    shorten::shorten_to_fit,
};

/// The API server's message if the cluster limits system-node-critical to namespaces that have a quota for it.
const PRIORITY_IS_LIMITED: &str = "insufficient quota to match these scopes";

/// Groups of failures that a summary lists.
const GROUPS: usize = 3;

/// `2/2`, for the printed column.
pub(super) fn ready_nodes(counts: &NodeCounts) -> String {
    format!("{}/{}", counts.ready, counts.desired)
}

/// `9,987 of 10,000 nodes ready`.
fn ready_of_desired(counts: &NodeCounts) -> String {
    format!("{} of {} ready", number(counts.ready.into()), nodes(counts.desired))
}

/// The most frequent groups of failures, and how many more there are.
pub(super) fn summary(counts: &NodeCounts, failures: &[Failure], unselected: Option<String>) -> String {
    let mut text = ready(counts, unselected);
    if counts.excluded > 0 {
        text += &format!("; {} not counted (new, or being deleted)", number(counts.excluded.into()));
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

/// For a spec that is refused in part, with `rest` about the part that is active.
pub(super) fn summary_of_refused(refusals: &[Refusal], rest: Option<&str>) -> String {
    let first = refused(refusals);
    cut(&rest.map_or(first.clone(), |rest| format!("{first}; {rest}")), MAX_SUMMARY)
}

pub(super) fn summary_of_dry_run(counted: &str) -> String {
    cut(&format!("dry run, nothing is loaded: {counted}"), MAX_SUMMARY)
}

fn group(failure: &Failure) -> String {
    format!("{} x{}{}", cut(&failure.reason, 64), number(failure.count.into()), kernel(failure))
}

fn kernel(failure: &Failure) -> String {
    if failure.kernel.is_empty() { String::new() } else { format!(" (kernel {})", cut(&failure.kernel, 48)) }
}

/// The most frequent failure: how many nodes, which kernel, one example node, what to do next.
pub(super) fn worst_failure(failures: &[Failure]) -> String {
    worst_failure_with_lead("", failures)
}

/// Details of the failure are dropped one by one until the message fits as a whole.
fn worst_failure_with_lead(lead: &str, failures: &[Failure]) -> String {
    let Some(first) = failures.first() else { return "nothing is wrong".into() };
    let Failure { reason, example_node: node, message, .. } = first;
    // Nodes that fail for one reason on several kernels are several failures.
    let same_reason = failures.iter().filter(|failure| failure.reason == *reason);
    let on = nodes(same_reason.clone().fold(0, |sum: i32, failure| sum.saturating_add(failure.count)));
    let one_kernel = same_reason.clone().all(|failure| failure.kernel == first.kernel);
    // The kernel is dropped first: the list of failures has it too.
    let with_kernel = if one_kernel { kernel(first) } else { String::new() };
    let whole = format!("{lead}{reason} on {on}{with_kernel}, e.g. {node}: {message}").chars().count();
    let kernel = if whole <= MAX_MESSAGE { with_kernel } else { String::new() };
    let mut leads = vec![
        format!("{lead}{reason} on {on}{kernel}, e.g. {node}: "),
        format!("{lead}{reason} on {on}, e.g. {node}: "),
        format!("{lead}{reason} on {on}: "),
        format!("{reason} on {on}: "),
    ];
    // Most next steps contain the node's name already.
    if message.contains(node.as_str()) {
        leads.insert(1, format!("{lead}{reason} on {on}{kernel}: "));
        leads.remove(2);
    }
    shorten_to_fit(&leads, message, MAX_MESSAGE)
}

pub(super) fn accepted() -> &'static str {
    "the spec is valid and supported"
}

/// As many refusals as fit, and how many more there are.
pub(super) fn refused(refusals: &[Refusal]) -> String {
    let Some((first, others)) = refusals.split_first() else { return String::new() };
    let all: u32 = refusals.iter().map(|refusal| 1 + refusal.unlisted).sum();
    let more = |shown: u32| match all - shown {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let mut shown = 1;
    let mut text = shorten_to_fit(&[String::new()], &first.message, MAX_MESSAGE - more(shown).chars().count());
    for other in others {
        let longer = format!("{text}; {}", other.message);
        if longer.chars().count() + more(shown + 1).chars().count() > MAX_MESSAGE {
            break;
        }
        text = longer;
        shown += 1;
    }
    text + &more(shown)
}

pub(super) fn not_accepted() -> &'static str {
    "the spec was not accepted; see the condition Accepted"
}

pub(super) fn all_updated(counts: &NodeCounts) -> String {
    format!("{} updated", nodes(counts.desired))
}

pub(super) fn rolling_out(counts: &NodeCounts) -> String {
    format!(
        "{} of {} updated, {} ready",
        number(counts.updated.into()),
        nodes(counts.desired),
        number(counts.ready.into())
    )
}

/// Not every counted node was given the change, or has answered.
pub(super) fn not_all_answered(counts: &NodeCounts, answered: i32) -> String {
    let (updated, answered) = (number(counts.updated.into()), number(answered.into()));
    format!("{updated} of {} updated, {answered} answered", nodes(counts.desired))
}

/// Every selected node is new, or is being deleted.
pub(super) fn waiting_for_new_nodes(counts: &NodeCounts, joining: i32) -> String {
    match joining {
        0 => format!("{} {} being deleted, and no other is the stack's", nodes(counts.excluded), verb(counts.excluded)),
        _ => format!("{} joined recently; waiting for their agents", nodes(joining)),
    }
}

fn verb(count: i32) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

pub(super) fn nodes_outside_the_stack(count: i32) -> String {
    format!("{} of the cluster {} not the stack's", nodes(count), verb(count))
}

pub(super) fn skipped_nodes(count: i32) -> String {
    format!("{} skipped by spec.nodeSelector", nodes(count))
}

pub(super) fn all_nodes_skipped(count: i32) -> String {
    format!(
        "spec.nodeSelector matches none of the stack's {}, so this is not active anywhere; correct it, or label a node",
        nodes(count)
    )
}

pub(super) fn pods_outside_the_stack(count: i32) -> String {
    format!("{} with matching pods {} not the stack's", nodes(count), verb(count))
}

pub(super) fn waiting_for_agents(namespace: &str, counts: &NodeCounts) -> String {
    format!("waiting for the agents of {}; see kubectl -n {namespace} get pods", nodes(counts.desired))
}

pub(super) fn no_matching_nodes(in_cluster: i32) -> String {
    match in_cluster {
        0 => "the cluster has no node; the agents start when one joins".into(),
        1 => "the cluster's node does not match spec.runtime.nodeSelector and tolerations; correct them, or label it"
            .into(),
        _ => format!(
            "none of the cluster's {} matches spec.runtime.nodeSelector and tolerations; correct them, or label a node",
            nodes(in_cluster)
        ),
    }
}

pub(super) fn no_matching_nodes_of_stack() -> &'static str {
    "no node matches the stack's nodeSelector and tolerations, so this is not active anywhere; see the stack's status"
}

pub(super) fn pods_on_unselected_nodes() -> &'static str {
    "the pods run only on nodes that the stack's nodeSelector and tolerations leave out; widen them, or move the pods"
}

/// The resource's namespace, or for a cluster-wide policy every namespace.
pub(super) fn namespace_out_of_scope(source: &Source) -> String {
    let field = match source.kind {
        SourceKind::AppProfile => Layer::Application.field(),
        SourceKind::FlowCapture => Layer::Network.field(),
        SourceKind::ObservabilityStack
        | SourceKind::TracingPolicy
        | SourceKind::TracingPolicyNamespaced
        | SourceKind::CiliumTracingPolicy
        | SourceKind::CiliumTracingPolicyNamespaced => Layer::Security.field(),
    };
    match &source.namespace {
        Some(namespace) => format!(
            "the stack's {field}.namespaceSelector leaves out namespace {namespace}; label the namespace, or widen it"
        ),
        None => format!("no namespace matches the stack's {field}.namespaceSelector; label one, or widen it"),
    }
}

pub(super) fn no_matching_pods() -> &'static str {
    "no running pod matches spec.podSelector; compare it with kubectl get pods --show-labels"
}

pub(super) fn listing_pods() -> &'static str {
    "listing the pods that spec.podSelector matches"
}

pub(super) fn halted(failing: usize, updated: usize) -> String {
    format!(
        "stopped: {failing} of {updated} updated nodes fail with the change; correct the stack, or the nodes in \
         status.failures"
    )
}

/// What nodes say of a policy that is active as asked.
pub(super) fn with_notes(ready: String, notes: &BTreeSet<(String, String)>) -> String {
    notes.iter().fold(ready, |text, (reason, note)| format!("{text}; {reason}: {note}"))
}

/// How many pods a policy selects; `pods` is none for other resources.
pub(super) fn with_pods_selected(ready: String, pods: Option<i32>) -> String {
    match pods {
        None => ready,
        Some(0) => format!("{ready}; no pod is selected now"),
        Some(1) => format!("{ready}; 1 pod is selected now"),
        Some(pods) => format!("{ready}; {} pods are selected now", number(pods.into())),
    }
}

/// `unselected`: the nodes that are left out, in words.
pub(super) fn ready(counts: &NodeCounts, unselected: Option<String>) -> String {
    let ready = ready_of_desired(counts);
    unselected.map_or(ready.clone(), |unselected| format!("{ready}; {unselected}"))
}

/// Of a policy that nodes check and do not load. `unselected`: the nodes that are left out, in words.
pub(super) fn dry_run(counts: &NodeCounts, unselected: Option<String>) -> String {
    let could = format!("{} of {} could have it active", number(counts.ready.into()), nodes(counts.desired));
    let unselected = unselected.map(|unselected| format!("; {unselected}")).unwrap_or_default();
    format!("dry run, nothing is loaded: {could}{unselected}")
}

pub(super) fn too_many_failing(counts: &NodeCounts, failures: &[Failure]) -> String {
    let lead = format!("{} of {} failing: ", number(counts.failing.into()), nodes(counts.desired));
    worst_failure_with_lead(&lead, failures)
}

/// `unloaded`: nodes whose agent has reported that it unloaded everything.
pub(super) fn suspended_stack(counts: &NodeCounts, unloaded: i32) -> String {
    format!(
        "suspended: {} of {} unloaded everything; set spec.suspend to false to resume",
        number(unloaded.into()),
        nodes(counts.desired)
    )
}

pub(super) fn suspended() -> &'static str {
    "the stack is suspended, so nodes unload this; set its spec.suspend to false"
}

pub(super) fn pending() -> &'static str {
    "the operator has not planned this yet"
}

pub(super) fn as_expected() -> &'static str {
    "nothing is wrong"
}

/// What a session recorded and what it lost.
pub(super) fn records(unit: &str, records: i64, lost: i64, on: i32) -> String {
    format!("{} {unit} from {}, {} lost", number(records), nodes(on), number(lost))
}

/// A result that lacks the reports of some nodes.
pub(super) fn with_unreported(result: &str, unreported: i32) -> String {
    match unreported {
        0 => result.into(),
        count => format!("{result}; {} did not report the end", nodes(count)),
    }
}

/// How the result of an AppProfile is fetched.
pub(super) fn with_fetch_command(result: &str, source: &Source) -> String {
    let namespace = source.namespace.as_deref().unwrap_or_default();
    format!("{result}; fetch it with: trilobite profile --name {namespace}/{}", source.name)
}

/// How rows of requests are read, and until when.
pub(super) fn with_read_command(result: &str, source: &Source, until: Timestamp) -> String {
    let namespace = source.namespace.as_deref().unwrap_or_default();
    let until = whole_seconds(until);
    format!("{result}; read them until {until} with: trilobite requests -n {namespace}")
}

pub(super) fn running_until(end: Timestamp, so_far: &str) -> String {
    format!("running until {}: {so_far}", whole_seconds(end))
}

pub(super) fn ended(so_far: &str) -> String {
    format!("ended after its duration: {so_far}")
}

pub(super) fn ended_early(so_far: &str) -> String {
    format!("ended on every node before its duration was over: {so_far}")
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

pub(super) fn agent_missing(namespace: &str, node: &str) -> String {
    format!("no agent pod on the node; see kubectl -n {namespace} describe daemonset trilobite-node, and node {node}")
}

pub(super) fn agent_not_running(namespace: &str, node: &str) -> String {
    format!("the agent's pod does not run; see kubectl -n {namespace} get pods --field-selector spec.nodeName={node}")
}

/// The kernel killed the agent, at its memory limit if it has one.
pub(super) fn agent_out_of_memory(node: &str, limit: Option<&str>) -> String {
    match limit {
        Some(limit) => format!(
            "the agent was killed at its memory limit of {} (OOMKilled); raise spec.runtime.resources.limits.memory in the stack",
            cut(limit, 24)
        ),
        None => format!(
            "the agent was killed as the node ran out of memory (OOMKilled); see what uses it: kubectl describe node {node}"
        ),
    }
}

pub(super) fn agent_waiting(namespace: &str, node: &str, why: &str) -> String {
    let why = cut(why, 40);
    format!(
        "the agent does not run ({why}); see kubectl -n {namespace} describe pods --field-selector spec.nodeName={node}"
    )
}

pub(super) fn node_not_reporting(node: &str) -> String {
    format!(
        "the node's kubelet has stopped reporting, so the agent's state is unknown; see kubectl describe node {node}"
    )
}

/// `other`: a container beside the agent that does not run, and why.
pub(super) fn agent_not_ready(namespace: &str, node: &str, other: Option<&str>) -> String {
    let what = match other {
        Some(other) => format!("the agent runs, but not {}", cut(other, 48)),
        None => "the agent runs but is not ready".into(),
    };
    format!("{what}; see kubectl -n {namespace} describe pods --field-selector spec.nodeName={node}")
}

pub(super) fn agent_not_responding(namespace: &str, node: &str, since: Timestamp) -> String {
    let since = whole_seconds(since);
    format!("the agent is behind since {since}: it has not applied noderuntime {node}; see its log in {namespace}")
}

pub(super) fn pods_forbidden(namespace: &str, why: &str) -> String {
    let next = format!("kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged");
    let why = cut(why, 60);
    format!("the agent's pods are forbidden ({why}); run: {next}")
}

/// The agents' pods are refused, but not by Pod Security.
pub(super) fn pods_refused(namespace: &str, why: &str) -> String {
    let next = if why.starts_with(PRIORITY_IS_LIMITED) {
        "set node.priorityQuota of the chart trilobite".to_owned()
    } else {
        format!("see kubectl -n {namespace} describe daemonset trilobite-node")
    };
    let why = cut(why, 60);
    format!("the agent's pod is refused ({why}); {next}")
}

/// The agent lists the part as refused, but its list of problems has no entry for it.
pub(super) fn part_refused(namespace: &str, node: &str) -> String {
    format!(
        "node {node} refused it, and reports the reasons of its first 20 problems only; correct those, or read the agent's \
         log in {namespace}"
    )
}

pub(super) fn session_refused(node: &str) -> String {
    format!("the agent refused the session; see kubectl describe noderuntime {node}")
}

pub(super) fn session_expired() -> &'static str {
    "it expired before the agent could start it; see why the agent was away, and create another one"
}

pub(super) fn node_full(node: &str) -> String {
    format!(
        "noderuntime {node} has the maximum number of sessions; delete FlowCaptures and AppProfiles, or wait until some end"
    )
}

/// The API server rejects an object that is built from `field` of the stack.
pub(crate) fn object_rejected(field: &str, kind: &str, why: &str) -> String {
    let why = why.split_once("is invalid: ").map_or(why, |(_, why)| why);
    // The pod has one container, and its path in the pod template is not a path that users have written.
    let why = why.replace("spec.template.spec.containers[0].", "");
    let of = if field == "spec.relay" { "the relay's" } else { "the agents'" };
    let what = format!("Kubernetes rejects {of} {kind}: {why}; correct {field}");
    shorten_to_fit(&[format!("{field}: ")], &what, MAX_MESSAGE)
}

/// The operator failed to reconcile.
pub(crate) fn retrying(error: &str) -> String {
    format!("retrying: {error}")
}

/// The first of several errors.
pub(crate) fn and_more(first: &str, more: usize) -> String {
    if more == 0 { first.into() } else { format!("{first} (and {more} more)") }
}

/// The API server denies the operator a request. The right that it lacks is named, not the request.
pub(crate) fn denied(error: &str) -> String {
    let what = denied_right(error).map_or_else(|| error.to_owned(), |right| format!("the operator may not {right}"));
    let what = format!("{what}; compare the operator's ClusterRole and Role with the chart's");
    shorten_to_fit(&[String::new()], &what, MAX_MESSAGE)
}

/// `patch daemonsets.apps in namespace x`, from the API server's
/// `User "u" cannot patch resource "daemonsets" in API group "apps" in the namespace "x"`.
fn denied_right(error: &str) -> Option<String> {
    let (_, right) = error.split_once("\" cannot ")?;
    let (verb, right) = right.split_once(" resource \"")?;
    let (resource, right) = right.split_once('"')?;
    let quoted = |before: &str| right.split_once(before)?.1.split('"').next();
    let group = quoted("in API group \"").filter(|group| !group.is_empty());
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let scope = match quoted("in the namespace \"") {
        Some(namespace) => format!(" in namespace {namespace}"),
        None if right.contains("at the cluster scope") => " in the cluster".into(),
        None => String::new(),
    };
    Some(format!("{verb} {resource}{group}{scope}"))
}

pub(super) fn relay_disabled() -> &'static str {
    "spec.relay.mode is Disabled: events, flows and profiles are read by administrators alone, through pods/exec"
}

pub(super) fn relay_not_needed() -> &'static str {
    "no layer is Enabled, and there is no session or result to read; the relay starts with the next AppProfile or FlowCapture"
}

pub(super) fn suspended_relay() -> &'static str {
    "the stack is suspended, so there is nothing to read; set spec.suspend to false"
}

/// `why`: what the relay's pods say.
pub(super) fn relay_unavailable(namespace: &str, why: Option<&str>) -> String {
    let why = cut(why.unwrap_or("it has not started yet"), 60);
    format!(
        "no replica of the relay is available ({why}); see kubectl -n {} describe pods -l \
         app.kubernetes.io/name=trilobite-relay",
        cut(namespace, 24)
    )
}

/// A replica is available, and the API server does not get through to it.
pub(super) fn relay_unreachable(why: &str) -> String {
    format!(
        "the API server cannot reach the relay ({}); see whether a NetworkPolicy or a firewall is between; retried in minutes",
        cut(why, 80)
    )
}

pub(super) fn relay_ready(available: i32, replicas: i32, closed: i32) -> String {
    let replicas = format!("{replicas} replica{}", if replicas == 1 { "" } else { "s" });
    let ready = format!("{available} of {replicas} available; read.trilobite.dev is served");
    if closed == 0 { ready } else { format!("{ready}; {} cannot be read, see status.failures", nodes(closed)) }
}

/// Nodes that the relay cannot read.
pub(super) fn ports_closed(ports: &[Failure]) -> String {
    worst_failure(ports)
}

/// A stored object cannot be deserialized.
pub(crate) fn unreadable(error: &str) -> String {
    format!("cannot be read: {error}")
}

pub(crate) fn stack_unreadable() -> &'static str {
    "the ObservabilityStack cannot be read, so nothing new is started; see its condition Accepted"
}

pub(crate) fn no_stack() -> &'static str {
    "there is no ObservabilityStack, so nothing can be active; apply one named default"
}

/// A namespace's label has a value that is not supported; `why` quotes the word.
pub(crate) fn unsupported_label(label: &str, why: &str) -> String {
    format!("label {label} makes no AppProfile: {why}")
}

/// An AppProfile of the name that the label needs already exists.
pub(crate) fn label_conflict(name: &str) -> String {
    format!("AppProfile {name} exists and was not created from the namespace's label; delete it or rename it")
}

/// The `action` field of an Event.
pub(super) fn event_action(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidSpec | Reason::Unsupported | Reason::LayerDisabled | Reason::NoStack => "Validating",
        _ => "Reconciling",
    }
}
