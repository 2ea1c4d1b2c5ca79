//! One row and the findings of each node: of its NodeRuntime, which its agent writes, and of its agent's pod, which shows
//! whether that agent is there to write anything.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Serialize;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::{NodeProblem, NodeRuntime, SessionState},
};

use super::{
    finding::Finding,
    operator::OPERATOR,
    pod_state::{PodState, most_telling, pod_state},
};

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeReport {
    pub(crate) name: String,
    /// Whether the node is ready for certain.
    pub(crate) ready: bool,
    /// `yes`, `no`, or `unknown` where nothing current says so.
    #[serde(skip)]
    pub(crate) readiness: &'static str,
    /// Whether the active profile is the desired one; none if none is desired.
    pub(crate) profile_in_force: Option<bool>,
    pub(crate) parts_in_force: i32,
    pub(crate) running_sessions: usize,
    pub(crate) problems: Vec<ProblemReport>,
    pub(crate) lost: i64,
    pub(crate) kernel: String,
    pub(crate) agent_version: String,
    /// The agent's pod; none if there is none, or pods could not be read.
    pub(crate) pod: Option<String>,
    /// `Running`, or why it does not; none if pods could not be read.
    pub(crate) pod_state: Option<String>,
    pub(crate) restarts: Option<i32>,
}

/// A part that a node reports as not active, or not completely.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ProblemReport {
    /// `TracingPolicy/watch-openat`
    pub(crate) source: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Where nodes' states come from.
#[derive(Clone, Copy)]
pub(super) struct NodeSources<'a> {
    /// None if they could not be read.
    pub(super) runtimes: Option<&'a [NodeRuntime]>,
    /// Of the operator and the agents; none if they could not be read.
    pub(super) pods: Option<&'a [Pod]>,
    /// Whether a running operator keeps the statuses up to date.
    pub(super) current: bool,
    /// Where Trilobite is installed.
    pub(super) namespace: &'a str,
}

impl NodeSources<'_> {
    /// Of every node that has a NodeRuntime or an agent's pod, in the order of their names. `reported` are findings
    /// about resources, which are not repeated for each node.
    pub(super) fn reports(&self, reported: &[Finding]) -> (Vec<NodeReport>, Vec<Finding>) {
        let runtimes = self.runtimes.unwrap_or_default();
        let mut names: BTreeSet<String> = runtimes.iter().map(ResourceExt::name_any).collect();
        names.extend(self.agents().filter_map(node_of).map(str::to_owned));
        let mut rows = Vec::new();
        let mut findings = Vec::new();
        for name in &names {
            let runtime = runtimes.iter().find(|runtime| runtime.name_any() == *name);
            let pod = most_telling(self.agents().filter(|pod| node_of(pod) == Some(name.as_str())));
            findings.extend(self.findings(name, runtime, pod.as_ref(), reported));
            rows.push(self.row(name, runtime, pod));
        }
        findings.extend(self.agents().filter(|pod| node_of(pod).is_none()).map(|pod| self.unscheduled(pod)));
        (rows, findings)
    }

    fn agents(&self) -> impl Iterator<Item = &Pod> {
        let of_agent = |pod: &&Pod| pod.labels().get("app.kubernetes.io/name").is_none_or(|name| name != OPERATOR);
        self.pods.unwrap_or_default().iter().filter(of_agent)
    }

    fn row(&self, name: &str, runtime: Option<&NodeRuntime>, pod: Option<(&Pod, PodState)>) -> NodeReport {
        let status = runtime.and_then(|runtime| runtime.status.clone()).unwrap_or_default();
        let wanted = runtime.and_then(|runtime| runtime.spec.profile_ref.as_ref());
        let readiness = self.readiness(runtime, pod.as_ref().map(|(_, state)| state));
        let absent = self.pods.map(|_| "none".to_owned());
        NodeReport {
            name: name.into(),
            ready: readiness == "yes",
            readiness,
            profile_in_force: wanted.map(|wanted| status.applied_profile.as_ref() == Some(wanted)),
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
            restarts: pod.as_ref().map(|(_, state)| state.restarts),
            pod_state: pod.as_ref().map(|(_, state)| state.reason.clone()).or(absent),
            pod: pod.map(|(pod, _)| pod.name_any()),
        }
    }

    fn readiness(&self, runtime: Option<&NodeRuntime>, pod: Option<&PodState>) -> &'static str {
        let conditions = runtime.and_then(|runtime| Some(runtime.status.as_ref()?.conditions.as_slice()));
        let reported = conditions.and_then(|conditions| find(conditions, ConditionType::Ready)).map(|one| one.status);
        match (self.pods, pod, reported) {
            (Some(_), None, _) => "no",
            (Some(_), Some(pod), _) if !pod.ready => "no",
            (None, ..) if !self.current => "unknown",
            (_, _, Some(ConditionStatus::True)) => "yes",
            (_, _, Some(ConditionStatus::Unknown)) => "unknown",
            _ if self.runtimes.is_none() => "unknown",
            _ => "no",
        }
    }

    fn findings(
        &self,
        name: &str,
        runtime: Option<&NodeRuntime>,
        pod: Option<&(&Pod, PodState)>,
        reported: &[Finding],
    ) -> Vec<Finding> {
        let object = format!("Node/{name}");
        let describe = format!("see 'kubectl describe noderuntime {name}'");
        let found =
            |reason: &str, message: &str| Finding::new(object.clone(), reason, message, &describe, self.namespace);
        let of_pod = self.pods.and_then(|_| self.pod_finding(&object, pod));
        let status = runtime.and_then(|runtime| runtime.status.as_ref());
        let is_new = |problem: &&NodeProblem| {
            let source = problem.source.to_string();
            !reported.iter().any(|one| one.object == source && one.reason == problem.reason)
        };
        let problems: Vec<Finding> = status
            .iter()
            .flat_map(|status| &status.problems)
            .filter(is_new)
            .map(|problem| found(&problem.reason, &format!("{}: {}", problem.source, problem.message)))
            .collect();
        if let Some(of_pod) = of_pod {
            // What the missing agent once reported, or that it is silent, adds nothing.
            return vec![of_pod];
        }
        match status {
            None if self.runtimes.is_none() => Vec::new(),
            None if runtime.is_some() => vec![found("WaitingForAgents", "its agent has not reported yet")],
            None => vec![found("WaitingForAgents", "its agent runs, and there is no NodeRuntime of that node")],
            Some(status) => {
                let ready = find(&status.conditions, ConditionType::Ready);
                let not_ready = ready
                    .filter(|ready| ready.status != ConditionStatus::True && status.problems.is_empty())
                    .map(|ready| found(&ready.reason, &ready.message));
                problems.into_iter().chain(not_ready).collect()
            }
        }
    }

    fn pod_finding(&self, object: &str, pod: Option<&(&Pod, PodState)>) -> Option<Finding> {
        let namespace = self.namespace;
        let Some((pod, state)) = pod else {
            let message = format!("no pod of the agent is on this node (namespace {namespace})");
            let next = format!("kubectl -n {namespace} describe daemonset -l app.kubernetes.io/name=trilobite-node");
            return Some(Finding::with_next(object.into(), "NoAgentPod", message, next));
        };
        let said = if state.message.is_empty() { String::new() } else { format!(": {}", state.message) };
        let message = format!("the agent's pod {} is not ready{said}", pod.name_any());
        let next = match state.reason.as_str() {
            "CrashLoopBackOff" | "NotReady" => {
                format!("kubectl -n {namespace} logs {} --previous; kubectl -n {namespace} logs {0}", pod.name_any())
            }
            _ => format!("kubectl -n {namespace} describe pod {}", pod.name_any()),
        };
        (!state.ready).then(|| Finding::with_next(object.into(), &state.reason, message, next))
    }

    fn unscheduled(&self, pod: &Pod) -> Finding {
        let state = pod_state(pod);
        let next = format!("kubectl -n {} describe pod {}", self.namespace, pod.name_any());
        Finding::with_next(format!("Pod/{}", pod.name_any()), &state.reason, state.message, next)
    }
}

/// The node of a pod; of a DaemonSet's pod that waits for the scheduler, the node that it is for.
fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let required = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &required.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().filter_map(|term| term.match_fields.as_ref()).flatten();
    fields.filter(|field| field.key == "metadata.name").find_map(|field| Some(field.values.as_ref()?.first()?.as_str()))
}
