//! `NodeState`: the state of one node with respect to one resource, as a chain of checks. Pure; time is an argument.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use trilobite_crds::{
    node::{NodeProblem, ProfileRef, SessionState, SessionStatus, Source, SourceKind},
    reason::Reason,
};

use super::{
    controller_report::{Requested, StatusInput},
    facts::{AgentFact, OutOfMemory, PodsRefused, RuntimeFact},
    messages,
    relay::is_port_problem,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct GracePeriods {
    /// How long a new node may be not ready before it counts.
    pub(crate) node: Duration,
    /// How long an agent may be missing, not ready or silent before its node fails.
    pub(crate) agent: Duration,
}

/// Everything that is known about one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeView<'a> {
    pub(crate) name: &'a str,
    pub(crate) agent: Option<&'a AgentFact>,
    /// The kubelet has stopped reporting.
    pub(crate) silent: bool,
    /// Start of the agent's grace period: when the agent went missing, or when its NodeRuntime last changed.
    pub(crate) since: Timestamp,
    pub(crate) runtime: Option<&'a RuntimeFact>,
    /// The last status of the requested session, kept after the node stops reporting it.
    pub(crate) session: Option<&'a SessionStatus>,
    /// Namespace of the agents' pods.
    pub(crate) namespace: &'a str,
    /// Digest of the agents' current pod template.
    pub(crate) template: Option<&'a str>,
    pub(crate) pods_refused: Option<&'a PodsRefused>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// Not ready yet; the node fails at `until` if nothing changes.
    Pending {
        until: Option<Timestamp>,
    },
    /// `until`: the same, for an agent that has not answered the latest change, which the state does not depend on.
    Ready {
        until: Option<Timestamp>,
    },
    Failing {
        reason: String,
        message: String,
    },
}

impl NodeState {
    fn failing(reason: Reason, message: String) -> Self {
        Self::Failing { reason: reason.as_str().into(), message }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

/// The state of one node, and how far what is requested has come there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeEvaluation {
    pub(crate) state: NodeState,
    /// The node was given what is requested.
    pub(crate) updated: bool,
    /// Its agent has reported on that.
    pub(crate) answered: bool,
    /// Its agent has reported at all.
    pub(crate) reported: bool,
}

type Check = Result<(), NodeState>;

/// Evaluates one node. `live_profiles` are the digests of the profiles with which the resource is active: for a policy
/// those that contain its part, for the stack those that were planned since its spec last changed.
pub(crate) fn evaluate_node(
    view: &NodeView<'_>,
    input: &StatusInput,
    live_profiles: &BTreeSet<String>,
    grace: GracePeriods,
    now: Timestamp,
) -> NodeEvaluation {
    let checks = || {
        check_session_end(view, input)?;
        check_agent_pod(view, grace, now)?;
        check_template(view, input)?;
        check_room(view, input)?;
        check_active(view, input, live_profiles, grace, now)?;
        check_problems(view, input)?;
        check_stack_ready(view, input)
    };
    let until = owes_answer(view, input).then(|| answer_due(view, grace));
    NodeEvaluation {
        state: checks().err().unwrap_or(NodeState::Ready { until }),
        updated: is_updated(view, input, live_profiles),
        answered: has_answered(view, input, live_profiles),
        reported: view.runtime.is_some_and(|runtime| runtime.observed_generation.is_some()),
    }
}

/// When an agent that has not answered the latest change fails.
fn answer_due(view: &NodeView<'_>, grace: GracePeriods) -> Timestamp {
    view.since.checked_add(grace.agent).unwrap_or(Timestamp::MAX)
}

/// Whether the agent was given a profile that it has not reported on. That concerns the stack alone: a policy needs only
/// a profile that contains it.
fn owes_answer(view: &NodeView<'_>, input: &StatusInput) -> bool {
    matches!(input.requested, Requested::Profile(_))
        && view.runtime.is_some_and(|runtime| runtime.applied_profile != runtime.desired_profile)
}

/// Whether the node's NodeRuntime asks for all of what is requested.
fn is_updated(view: &NodeView<'_>, input: &StatusInput, live_profiles: &BTreeSet<String>) -> bool {
    let desired = view.runtime.and_then(|runtime| runtime.desired_profile.as_ref());
    match &input.requested {
        Requested::Nothing => view.runtime.is_some(),
        Requested::Profile(profile) => desired == Some(profile) && has_current_template(view),
        Requested::Part { .. } => desired.is_some_and(|profile| live_profiles.contains(&profile.digest)),
        Requested::Session(session) => {
            view.session.is_some() || view.runtime.is_some_and(|runtime| runtime.has_session(session))
        }
    }
}

/// Whether the agent has reported on all of what is requested.
fn has_answered(view: &NodeView<'_>, input: &StatusInput, live_profiles: &BTreeSet<String>) -> bool {
    let applied = view.runtime.and_then(|runtime| runtime.applied_profile.as_ref());
    match &input.requested {
        Requested::Nothing => view.runtime.is_some(),
        Requested::Profile(profile) => applied == Some(profile),
        Requested::Part { .. } => applied.is_some_and(|profile| live_profiles.contains(&profile.digest)),
        Requested::Session(_) => view.session.is_some(),
    }
}

fn check_agent_pod(view: &NodeView<'_>, grace: GracePeriods, now: Timestamp) -> Check {
    let failing = NodeState::failing;
    let grace_end = |since: Timestamp| since.checked_add(grace.agent).unwrap_or(Timestamp::MAX);
    match view.agent {
        Some(agent) if agent.ready => Ok(()),
        Some(agent) => {
            let until = grace_end(agent.since.unwrap_or(view.since));
            if now < until {
                return Err(NodeState::Pending { until: Some(until) });
            }
            Err(match (&agent.out_of_memory, &agent.waiting) {
                _ if view.silent => failing(Reason::AgentSilent, messages::node_not_reporting(view.name)),
                (Some(OutOfMemory { limit }), _) => {
                    failing(Reason::AgentSilent, messages::agent_out_of_memory(view.name, limit.as_deref()))
                }
                (None, Some(why)) => {
                    failing(Reason::AgentSilent, messages::agent_waiting(view.namespace, view.name, why))
                }
                (None, None) if agent.running => {
                    let other = agent.other_waiting.as_deref();
                    failing(Reason::AgentNotReady, messages::agent_not_ready(view.namespace, view.name, other))
                }
                (None, None) => failing(Reason::AgentSilent, messages::agent_not_running(view.namespace, view.name)),
            })
        }
        None => {
            if let Some(PodsRefused::BySecurity(why)) = view.pods_refused {
                return Err(failing(Reason::PodSecurityForbidden, messages::pods_forbidden(view.namespace, why)));
            }
            let until = grace_end(view.since);
            if now < until {
                return Err(NodeState::Pending { until: Some(until) });
            }
            Err(match view.pods_refused {
                Some(PodsRefused::Otherwise(why)) => {
                    failing(Reason::AgentSilent, messages::pods_refused(view.namespace, why))
                }
                _ => failing(Reason::AgentSilent, messages::agent_missing(view.namespace, view.name)),
            })
        }
    }
}

/// A stack is ready on a node only if the agent's pod is made from the current template; until then the DaemonSet
/// replaces it.
fn check_template(view: &NodeView<'_>, input: &StatusInput) -> Check {
    match input.requested {
        Requested::Profile(_) if !has_current_template(view) => Err(NodeState::Pending { until: None }),
        _ => Ok(()),
    }
}

fn has_current_template(view: &NodeView<'_>) -> bool {
    let template = view.agent.and_then(|agent| agent.template.as_deref());
    view.template.is_none_or(|current| template == Some(current))
}

fn check_room(view: &NodeView<'_>, input: &StatusInput) -> Check {
    match &input.requested {
        Requested::Session(session) if session.full_nodes.contains(view.name) => {
            Err(NodeState::failing(Reason::NodeFull, messages::node_full(view.name)))
        }
        _ => Ok(()),
    }
}

/// A session that has ended keeps its result, whatever happens to the agent afterwards.
fn check_session_end(view: &NodeView<'_>, input: &StatusInput) -> Check {
    let session = view.session.filter(|_| matches!(input.requested, Requested::Session(_)));
    match session.map(|session| session.state) {
        Some(SessionState::Completed) => Err(NodeState::Ready { until: None }),
        Some(SessionState::Expired) => {
            Err(NodeState::failing(Reason::SessionExpired, messages::session_expired().into()))
        }
        Some(SessionState::Running | SessionState::Refused) | None => Ok(()),
    }
}

/// A resource is active with any of its live profiles. So the stack stays ready while the policies beside it change, as
/// long as its agents answer each change.
fn check_active(
    view: &NodeView<'_>,
    input: &StatusInput,
    live_profiles: &BTreeSet<String>,
    grace: GracePeriods,
    now: Timestamp,
) -> Check {
    let is_live = |profile: Option<&ProfileRef>| profile.is_some_and(|profile| live_profiles.contains(&profile.digest));
    let (given, active) = match (&input.requested, view.runtime) {
        (Requested::Profile(_), Some(runtime)) => {
            (is_live(runtime.desired_profile.as_ref()), is_live(runtime.applied_profile.as_ref()))
        }
        _ => (is_updated(view, input, live_profiles), has_answered(view, input, live_profiles)),
    };
    let due = answer_due(view, grace);
    match (given, active) {
        (false, _) => Err(NodeState::Pending { until: None }),
        (true, true) if !owes_answer(view, input) || now < due => Ok(()),
        (true, _) if now < due => Err(NodeState::Pending { until: Some(due) }),
        (true, _) => {
            let message = messages::agent_not_responding(view.namespace, view.name, view.since);
            Err(NodeState::failing(Reason::AgentSilent, message))
        }
    }
}

/// Whether a node reports it about this generation of a resource. Problems of the node as a whole count against the stack, whatever
/// its generation.
fn concerns(problem: &NodeProblem, source: &Source) -> bool {
    let other = &problem.source;
    let same_generation = other.generation == source.generation || source.kind == SourceKind::ObservabilityStack;
    (other.kind, &other.namespace, &other.name) == (source.kind, &source.namespace, &source.name) && same_generation
}

fn is_note(problem: &NodeProblem) -> bool {
    problem.reason.parse::<Reason>().is_ok_and(Reason::is_note)
}

/// What a node says of a resource that is active as asked.
pub(crate) fn notes<'a>(runtime: &'a RuntimeFact, source: &'a Source) -> impl Iterator<Item = &'a NodeProblem> {
    runtime.problems.iter().filter(move |problem| is_note(problem) && concerns(problem, source))
}

fn check_problems(view: &NodeView<'_>, input: &StatusInput) -> Check {
    let source = &input.source;
    let fail = |reason: Reason, message: String| Err(NodeState::failing(reason, message));
    let Some(runtime) = view.runtime else { return Ok(()) };
    let wrong = |problem: &&NodeProblem| !is_port_problem(&problem.reason) && !is_note(problem);
    if let Some(problem) = runtime.problems.iter().filter(wrong).find(|problem| concerns(problem, source)) {
        let (reason, message) = (problem.reason.clone(), problem.message.clone());
        return Err(NodeState::Failing { reason, message });
    }
    match &input.requested {
        // The list of problems is limited to 20, the list of refused parts is complete.
        Requested::Part { digest, .. } if runtime.refused_parts.iter().any(|prefix| is_prefix(prefix, digest)) => {
            fail(Reason::LoadFailed, messages::part_refused(view.namespace, view.name))
        }
        Requested::Session(_) if view.session.is_some_and(|session| session.state == SessionState::Refused) => {
            fail(Reason::LoadFailed, messages::session_refused(view.name))
        }
        _ => Ok(()),
    }
}

/// What keeps the node's port for the relay closed.
pub(crate) fn port_problem<'a>(view: &NodeView<'a>) -> Option<&'a NodeProblem> {
    view.runtime?.problems.iter().find(|problem| is_port_problem(&problem.reason))
}

fn is_prefix(prefix: &str, digest: &str) -> bool {
    !prefix.is_empty() && digest.starts_with(prefix)
}

/// The agent's own condition Ready counts only against the stack: a policy that fails to load concerns that policy
/// alone.
fn check_stack_ready(view: &NodeView<'_>, input: &StatusInput) -> Check {
    let not_ready = view.runtime.and_then(|runtime| runtime.not_ready.as_ref());
    match (&input.requested, not_ready) {
        (Requested::Profile(_), Some((reason, message))) => {
            Err(NodeState::Failing { reason: reason.clone(), message: message.clone() })
        }
        _ => Ok(()),
    }
}
