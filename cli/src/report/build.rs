//! Builds the report: objects that are in order are counted; others are listed with their reason and what to do.

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;
use serde::Serialize;
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, UserKind,
    condition::ConditionType, node::NodeRuntime, stack::Layer,
};

use super::{
    finding::{Finding, grouped},
    messages::sentence,
    nodes::{NodeReport, NodeSources},
    operator::{OPERATOR, OperatorReport, is_renewed, observed_at},
    resources::{KindCount, count, findings, holds},
};

/// Objects of the API server; none where they could not be read.
pub(crate) struct ClusterObjects {
    pub(crate) stacks: Option<Vec<ObservabilityStack>>,
    pub(crate) policies: Option<Vec<TracingPolicy>>,
    pub(crate) namespaced_policies: Option<Vec<TracingPolicyNamespaced>>,
    pub(crate) captures: Option<Vec<FlowCapture>>,
    pub(crate) profiles: Option<Vec<AppProfile>>,
    pub(crate) nodes: Option<Vec<NodeRuntime>>,
    /// The operator's Deployment.
    pub(crate) operators: Option<Vec<Deployment>>,
    /// Of the operator and the agents.
    pub(crate) pods: Option<Vec<Pod>>,
    pub(crate) unread: Vec<Unread>,
    /// Where Trilobite is installed.
    pub(crate) namespace: String,
    pub(crate) now: Timestamp,
}

/// Objects that could not be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Unread {
    /// `pods in namespace trilobite-system`
    pub(crate) what: String,
    pub(crate) message: String,
    pub(crate) next: String,
}

/// What `trilobite status` prints.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Whether everything could be read, and nothing is wrong.
    pub(crate) in_order: bool,
    /// None if its Deployment could not be read.
    pub(crate) operator: Option<OperatorReport>,
    /// When the statuses below were written, as far as is known.
    pub(crate) observed_at: Option<Timestamp>,
    pub(crate) stack: Option<StackReport>,
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) resources: Vec<KindCount>,
    pub(crate) wrong: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<Unread>,
    #[serde(skip)]
    pub(crate) now: Timestamp,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StackReport {
    pub(crate) name: String,
    pub(crate) ready: bool,
    /// `ready`, `not ready`, `suspended`, or that nothing current says so.
    #[serde(skip)]
    pub(crate) state: &'static str,
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

impl Report {
    pub(crate) fn new(found: ClusterObjects) -> Self {
        let ClusterObjects {
            stacks,
            policies,
            namespaced_policies,
            captures,
            profiles,
            nodes,
            operators,
            pods,
            unread,
            namespace,
            now,
        } = found;
        let operator = operators.map(|operators| OperatorReport::new(&operators, pods.as_deref(), &namespace));
        let read_stacks = stacks.as_deref().unwrap_or_default();
        let observed_at = observed_at(read_stacks, nodes.as_deref().unwrap_or_default());
        let renewed = is_renewed(read_stacks, now);
        let current = match &operator {
            Some(operator) => operator.running && renewed != Some(false),
            None => renewed == Some(true),
        };

        let mut wrong: Vec<Finding> = operator.iter().filter_map(OperatorReport::finding).collect();
        if renewed == Some(false) && wrong.is_empty() {
            wrong.push(not_renewed(&namespace));
        }
        match stacks.as_deref() {
            Some([]) => {
                let message = "there is no ObservabilityStack, so nothing can be active";
                wrong.push(Finding::new("ObservabilityStack/default".into(), "NoStack", message, "", &namespace));
            }
            read => wrong.extend(read.into_iter().flatten().take(1).flat_map(|stack| findings(stack, &namespace))),
        }
        let resources = [
            count(policies.as_deref(), &namespace, &mut wrong),
            count(namespaced_policies.as_deref(), &namespace, &mut wrong),
            count(captures.as_deref(), &namespace, &mut wrong),
            count(profiles.as_deref(), &namespace, &mut wrong),
        ];
        let sources = NodeSources { runtimes: nodes.as_deref(), pods: pods.as_deref(), current, namespace: &namespace };
        let (nodes, of_nodes) = sources.reports(&wrong);
        wrong.extend(of_nodes);
        let pods_read = pods.is_some();
        let stack = read_stacks.first().map(|stack| stack_report(stack, &nodes, pods_read, current));
        Self {
            in_order: wrong.is_empty() && unread.is_empty(),
            operator,
            observed_at,
            stack,
            nodes,
            resources: resources.into_iter().flatten().collect(),
            wrong: grouped(wrong),
            unread,
            now,
        }
    }

    /// Whether everything is ready, for certain.
    pub(crate) fn is_ready(&self) -> bool {
        self.in_order
            && self.stack.as_ref().is_some_and(|stack| stack.ready)
            && self.nodes.iter().all(|node| node.ready)
    }

    /// Whether the statuses are known to be old: there is no operator that would renew them.
    pub(crate) fn is_stale(&self) -> bool {
        self.operator.as_ref().is_some_and(|operator| !operator.running)
    }
}

impl StackReport {
    /// Whether the condition Ready claims more than is known now.
    pub(super) fn contradicts_its_conditions(&self) -> bool {
        let claims = |condition: &ConditionReport| condition.r#type == "Ready" && condition.status == "True";
        !self.ready && !self.suspended && self.conditions.iter().any(claims)
    }
}

fn not_renewed(namespace: &str) -> Finding {
    let message = "the operator has not renewed the stack's status for 10 minutes, which it does every 5".to_owned();
    let next = format!("kubectl -n {namespace} logs deployment/{OPERATOR}");
    Finding::with_next("ObservabilityStack/default".into(), "StatusNotRenewed", message, next)
}

fn stack_report(stack: &ObservabilityStack, nodes: &[NodeReport], pods_read: bool, current: bool) -> StackReport {
    let status = stack.common_status().cloned().unwrap_or_default();
    let layers = [("security", Layer::Security), ("network", Layer::Network), ("application", Layer::Application)];
    let reported = status.ready_nodes.clone().unwrap_or_else(|| "?".into());
    let living = nodes.iter().filter(|node| node.ready).count();
    let (ready_nodes, enough) = if pods_read { living_nodes(&reported, living) } else { (reported, true) };
    let reported_ready = holds(&status.conditions, ConditionType::Ready);
    let state = match (stack.spec.suspend, reported_ready && enough, current) {
        (true, ..) => "suspended",
        (false, false, _) => "not ready",
        (false, true, true) => "ready",
        (false, true, false) => "not known to be ready",
    };
    StackReport {
        name: stack.name_any(),
        ready: reported_ready && enough && current,
        state,
        ready_nodes,
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

/// The reported `ready/desired` with at most the nodes whose agents are there, and whether these are enough: all but 1 %,
/// as for the condition.
fn living_nodes(reported: &str, living: usize) -> (String, bool) {
    let parsed =
        reported.split_once('/').and_then(|(ready, desired)| Some((ready.parse().ok()?, desired.parse().ok()?)));
    let Some((ready, desired)): Option<(usize, usize)> = parsed else { return (reported.to_owned(), true) };
    let ready = ready.min(living);
    (format!("{ready}/{desired}"), desired - ready.min(desired) <= desired / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_whose_agent_is_there_count_as_ready() {
        assert_eq!(living_nodes("2/2", 0), ("0/2".into(), false));
        assert_eq!(living_nodes("2/2", 2), ("2/2".into(), true));
        assert_eq!(living_nodes("199/200", 198), ("198/200".into(), true));
        assert_eq!(living_nodes("200/200", 197), ("197/200".into(), false));
        assert_eq!(living_nodes("?", 0), ("?".into(), true));
        assert_eq!(living_nodes("0/0", 0), ("0/0".into(), true));
    }
}
