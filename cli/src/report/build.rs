//! Builds the report: objects that are in order are counted; others are listed with their reason and what to do.

use kube::{Resource, ResourceExt};
use serde::Serialize;
use trilobite_crds::{
    AppProfile, Failure, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, UserKind,
    condition::{Condition, ConditionStatus, ConditionType, find},
    node::{NodeProblem, NodeRuntime, SessionState},
    stack::Layer,
};

use super::messages::{meaning, next, sentence};

/// Objects of the API server.
#[derive(Default)]
pub(crate) struct ClusterObjects {
    pub(crate) stacks: Vec<ObservabilityStack>,
    pub(crate) policies: Vec<TracingPolicy>,
    pub(crate) namespaced_policies: Vec<TracingPolicyNamespaced>,
    pub(crate) captures: Vec<FlowCapture>,
    pub(crate) profiles: Vec<AppProfile>,
    pub(crate) nodes: Vec<NodeRuntime>,
}

/// What `trilobite status` prints.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Whether `wrong` is empty.
    pub(crate) in_order: bool,
    pub(crate) stack: Option<StackReport>,
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) resources: Vec<KindCount>,
    pub(crate) wrong: Vec<Finding>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StackReport {
    pub(crate) name: String,
    pub(crate) ready: bool,
    /// `2/2`
    pub(crate) ready_nodes: String,
    pub(crate) summary: String,
    pub(crate) suspended: bool,
    pub(crate) layers: Vec<LayerReport>,
    pub(crate) conditions: Vec<ConditionReport>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct LayerReport {
    pub(crate) name: &'static str,
    pub(crate) mode: String,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ConditionReport {
    pub(crate) r#type: String,
    pub(crate) status: String,
    pub(crate) words: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeReport {
    pub(crate) name: String,
    pub(crate) ready: bool,
    /// Whether the active profile is the desired one; none if none is desired.
    pub(crate) profile_in_force: Option<bool>,
    pub(crate) parts_in_force: i32,
    pub(crate) running_sessions: usize,
    pub(crate) problems: Vec<ProblemReport>,
    pub(crate) lost: i64,
    pub(crate) kernel: String,
    pub(crate) agent_version: String,
}

/// A part that a node reports as not active, or not completely.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ProblemReport {
    /// `TracingPolicy/watch-openat`
    pub(crate) source: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// How many objects of one kind there are, and how many of them are in order.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindCount {
    pub(crate) kind: String,
    pub(crate) total: usize,
    pub(crate) in_order: usize,
}

/// An object that is not in order.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// `TracingPolicy/watch-openat`
    pub(crate) object: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meaning: Option<&'static str>,
    pub(crate) next: String,
}

impl Report {
    pub(crate) fn new(found: ClusterObjects) -> Self {
        let ClusterObjects { stacks, policies, namespaced_policies, captures, profiles, mut nodes } = found;
        let mut wrong = Vec::new();
        let stack = stacks.first().map(|stack| {
            wrong.extend(findings(stack));
            stack_report(stack)
        });
        if stack.is_none() {
            let message = "there is no ObservabilityStack, so nothing can be active";
            wrong.push(Finding::new("ObservabilityStack/default".into(), "NoStack", message, ""));
        }
        let resources = vec![
            count(&policies, &mut wrong),
            count(&namespaced_policies, &mut wrong),
            count(&captures, &mut wrong),
            count(&profiles, &mut wrong),
        ];
        nodes.sort_by_key(ResourceExt::name_any);
        for node in &nodes {
            let more = node_findings(node, &wrong);
            wrong.extend(more);
        }
        let nodes = nodes.iter().map(node_report).collect();
        Self { in_order: wrong.is_empty(), stack, nodes, resources, wrong }
    }
}

impl Finding {
    fn new(object: String, reason: &str, message: &str, describe: &str) -> Self {
        Self {
            object,
            reason: reason.into(),
            message: message.into(),
            meaning: meaning(reason).filter(|meaning| !says_the_same(meaning, message)),
            next: next(reason, describe),
        }
    }
}

/// Apart from the first letter's case and the full stop.
fn says_the_same(meaning: &str, message: &str) -> bool {
    meaning.trim_end_matches('.').eq_ignore_ascii_case(message.trim_end_matches('.'))
}

fn stack_report(stack: &ObservabilityStack) -> StackReport {
    let status = stack.status.clone().unwrap_or_default();
    let layers = [("security", Layer::Security), ("network", Layer::Network), ("application", Layer::Application)];
    StackReport {
        name: stack.name_any(),
        ready: holds(&status.conditions, ConditionType::Ready),
        ready_nodes: status.ready_nodes.unwrap_or_else(|| "?".into()),
        summary: status.summary.unwrap_or_default(),
        suspended: stack.spec.suspend,
        layers: layers
            .map(|(name, layer)| LayerReport { name, mode: format!("{:?}", stack.spec.layer(layer).mode) })
            .into(),
        conditions: status
            .conditions
            .iter()
            .map(|condition| ConditionReport {
                r#type: format!("{:?}", condition.r#type),
                status: format!("{:?}", condition.status),
                words: sentence(condition),
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            })
            .collect(),
    }
}

fn node_report(node: &NodeRuntime) -> NodeReport {
    let status = node.status.clone().unwrap_or_default();
    NodeReport {
        name: node.name_any(),
        ready: holds(&status.conditions, ConditionType::Ready),
        profile_in_force: node.spec.profile_ref.as_ref().map(|wanted| status.applied_profile.as_ref() == Some(wanted)),
        parts_in_force: status.parts_in_force,
        running_sessions: status.sessions.iter().filter(|one| one.state == SessionState::Running).count(),
        problems: status
            .problems
            .iter()
            .map(|problem| ProblemReport {
                source: problem.source.to_string(),
                reason: problem.reason.clone(),
                message: problem.message.clone(),
            })
            .collect(),
        lost: status.losses.iter().fold(0, |sum, loss| sum.saturating_add(loss.count)),
        kernel: status.kernel.map(|kernel| kernel.release).unwrap_or_default(),
        agent_version: status.agent_version.unwrap_or_default(),
    }
}

fn count<K: UserKind>(objects: &[K], wrong: &mut Vec<Finding>) -> KindCount {
    let found: Vec<Vec<Finding>> = objects.iter().map(findings).collect();
    let in_order = found.iter().filter(|of_one| of_one.is_empty()).count();
    wrong.extend(found.into_iter().flatten());
    KindCount { kind: K::kind(&()).into_owned(), total: objects.len(), in_order }
}

/// Findings about one object: its groups of failures, or else why it is not ready.
fn findings<K: UserKind>(object: &K) -> Vec<Finding> {
    let name = object.source().to_string();
    let describe = format!("see 'kubectl describe {}{}'", K::plural(&()), object_args(object));
    let Some(status) = object.common_status() else {
        let message = "the operator has not processed it yet";
        return vec![Finding::new(name, "Pending", message, &describe)];
    };
    let failures = status.failures.iter().map(|failure| {
        let message = failure_message(failure);
        Finding::new(name.clone(), &failure.reason, &message, &describe)
    });
    let failures: Vec<Finding> = failures.collect();
    let conditions = &status.conditions;
    // A completed resource is rightly not ready.
    if !failures.is_empty() || holds(conditions, ConditionType::Completed) {
        return failures;
    }
    // The reason of Accepted=False explains more than Ready=False does.
    let accepted = find(conditions, ConditionType::Accepted).filter(|one| one.status == ConditionStatus::False);
    match accepted.or_else(|| find(conditions, ConditionType::Ready)) {
        Some(condition) if condition.status == ConditionStatus::True => Vec::new(),
        Some(condition) => vec![Finding::new(name, &condition.reason, &condition.message, &describe)],
        None => vec![Finding::new(name, "Pending", "the operator has not processed it yet", &describe)],
    }
}

fn failure_message(failure: &Failure) -> String {
    let Failure { count, example_node, kernel, message, reason: _ } = failure;
    let nodes = if *count == 1 { "node" } else { "nodes" };
    let kernel = if kernel.is_empty() { String::new() } else { format!(", kernel {kernel}") };
    format!("on {count} {nodes} (e.g. {example_node}{kernel}): {message}")
}

/// Findings about one node, without the problems that a resource's finding reports already for all nodes.
fn node_findings(node: &NodeRuntime, reported: &[Finding]) -> Vec<Finding> {
    let name = format!("Node/{}", node.name_any());
    let describe = format!("see 'kubectl describe noderuntime {}'", node.name_any());
    let Some(status) = &node.status else {
        let message = "its agent has not reported yet";
        return vec![Finding::new(name, "WaitingForAgents", message, &describe)];
    };
    let is_new = |problem: &&NodeProblem| {
        let source = problem.source.to_string();
        !reported.iter().any(|one| one.object == source && one.reason == problem.reason)
    };
    let problem = |problem: &NodeProblem| {
        let message = format!("{}: {}", problem.source, problem.message);
        Finding::new(name.clone(), &problem.reason, &message, &describe)
    };
    let mut wrong: Vec<Finding> = status.problems.iter().filter(is_new).map(problem).collect();
    if let Some(ready) = find(&status.conditions, ConditionType::Ready)
        && ready.status != ConditionStatus::True
        && status.problems.is_empty()
    {
        wrong.push(Finding::new(name, &ready.reason, &ready.message, &describe));
    }
    wrong
}

fn holds(conditions: &[Condition], r#type: ConditionType) -> bool {
    find(conditions, r#type).is_some_and(|condition| condition.status == ConditionStatus::True)
}

fn object_args<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!(" -n {namespace} {}", object.name_any()),
        None => format!(" {}", object.name_any()),
    }
}
