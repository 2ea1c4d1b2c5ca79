//! `NodeState`: the state of one node with respect to one resource, as a chain of checks. Pure; time is an argument.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use trilobite_crds::{
    node::{NodeProblem, SessionState, SessionStatus, SourceKind},
    reason::Reason,
};

use super::{
    controller_report::{Requested, StatusInput},
    facts::{AgentFact, PodsRefused, RuntimeFact},
    messages,
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

/// `updated`: the node's NodeRuntime asks for what is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// Not ready yet; the node fails at `until` if nothing changes.
    Pending {
        updated: bool,
        until: Option<Timestamp>,
    },
    Ready,
    Failing {
        updated: bool,
        reason: String,
        message: String,
    },
}

type Check = Result<(), NodeState>;

/// Evaluates one node. `live_profiles` are the digests of the profiles that contain the requested part.
pub(crate) fn node_state(
    view: &NodeView<'_>,
    input: &StatusInput,
    live_profiles: &BTreeSet<String>,
    grace: GracePeriods,
    now: Timestamp,
) -> NodeState {
    let updated = is_updated(view, input, live_profiles);
    let checks = || {
        check_session_end(view, input)?;
        check_agent_pod(view, updated, grace, now)?;
        check_template(view, input)?;
        check_room(view, input)?;
        check_updated(updated)?;
        check_reported(view, input, live_profiles, updated, grace, now)?;
        check_problems(view, input)?;
        check_stack_ready(view, input)
    };
    checks().err().unwrap_or(NodeState::Ready)
}

fn is_updated(view: &NodeView<'_>, input: &StatusInput, live_profiles: &BTreeSet<String>) -> bool {
    let Some(runtime) = view.runtime else { return false };
    match &input.requested {
        Requested::Nothing => true,
        Requested::Profile(profile) => runtime.desired_profile.as_ref() == Some(profile),
        Requested::Part { .. } => {
            runtime.desired_profile.as_ref().is_some_and(|profile| live_profiles.contains(&profile.digest))
        }
        Requested::Session(session) => view.session.is_some() || runtime.has_session(session),
    }
}

fn check_agent_pod(view: &NodeView<'_>, updated: bool, grace: GracePeriods, now: Timestamp) -> Check {
    let failing =
        |reason: Reason, message: String| NodeState::Failing { updated, reason: reason.as_str().into(), message };
    let grace_end = |since: Timestamp| since.checked_add(grace.agent).unwrap_or(Timestamp::MAX);
    match view.agent {
        Some(agent) if agent.ready => Ok(()),
        Some(agent) => {
            let until = grace_end(agent.since.unwrap_or(view.since));
            if now < until {
                return Err(NodeState::Pending { updated, until: Some(until) });
            }
            Err(match &agent.waiting {
                _ if view.silent => failing(Reason::AgentSilent, messages::node_not_reporting(view.name)),
                Some(why) => failing(Reason::AgentSilent, messages::agent_waiting(view.namespace, view.name, why)),
                None if agent.running => {
                    failing(Reason::AgentNotReady, messages::agent_not_ready(view.namespace, view.name))
                }
                None => failing(Reason::AgentSilent, messages::agent_not_running(view.namespace, view.name)),
            })
        }
        None => {
            if let Some(PodsRefused::BySecurity(why)) = view.pods_refused {
                return Err(failing(Reason::PodSecurityForbidden, messages::pods_forbidden(view.namespace, why)));
            }
            let until = grace_end(view.since);
            if now < until {
                return Err(NodeState::Pending { updated, until: Some(until) });
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
    let Requested::Profile(_) = input.requested else { return Ok(()) };
    let template = view.agent.and_then(|agent| agent.template.as_deref());
    if view.template.is_none_or(|current| template == Some(current)) {
        Ok(())
    } else {
        Err(NodeState::Pending { updated: false, until: None })
    }
}

fn check_room(view: &NodeView<'_>, input: &StatusInput) -> Check {
    match &input.requested {
        Requested::Session(session) if session.full_nodes.contains(view.name) => Err(NodeState::Failing {
            updated: false,
            reason: Reason::NodeFull.as_str().into(),
            message: messages::node_full(view.name),
        }),
        _ => Ok(()),
    }
}

fn check_updated(updated: bool) -> Check {
    if updated { Ok(()) } else { Err(NodeState::Pending { updated, until: None }) }
}

/// A session that has ended keeps its result, whatever happens to the agent afterwards.
fn check_session_end(view: &NodeView<'_>, input: &StatusInput) -> Check {
    let session = view.session.filter(|_| matches!(input.requested, Requested::Session(_)));
    match session.map(|session| session.state) {
        Some(SessionState::Completed) => Err(NodeState::Ready),
        Some(SessionState::Expired) => Err(NodeState::Failing {
            updated: true,
            reason: Reason::SessionExpired.as_str().into(),
            message: messages::session_expired().into(),
        }),
        Some(SessionState::Running | SessionState::Refused) | None => Ok(()),
    }
}

fn check_reported(
    view: &NodeView<'_>,
    input: &StatusInput,
    live_profiles: &BTreeSet<String>,
    updated: bool,
    grace: GracePeriods,
    now: Timestamp,
) -> Check {
    let reported = view.runtime.is_some_and(|runtime| match &input.requested {
        Requested::Nothing => true,
        Requested::Profile(profile) => runtime.applied_profile.as_ref() == Some(profile),
        Requested::Part { .. } => {
            runtime.applied_profile.as_ref().is_some_and(|profile| live_profiles.contains(&profile.digest))
        }
        Requested::Session(_) => view.session.is_some(),
    });
    if reported {
        return Ok(());
    }
    let until = view.since.checked_add(grace.agent).unwrap_or(Timestamp::MAX);
    if now < until {
        return Err(NodeState::Pending { updated, until: Some(until) });
    }
    let message = messages::agent_not_responding(view.namespace, view.name);
    Err(NodeState::Failing { updated, reason: Reason::AgentSilent.as_str().into(), message })
}

fn check_problems(view: &NodeView<'_>, input: &StatusInput) -> Check {
    let source = &input.source;
    let concerns_source = |problem: &&NodeProblem| {
        let other = &problem.source;
        // Problems of the node as a whole count against the stack, whatever its generation.
        let same_generation = other.generation == source.generation || source.kind == SourceKind::ObservabilityStack;
        (other.kind, &other.namespace, &other.name) == (source.kind, &source.namespace, &source.name) && same_generation
    };
    let fail = |reason: Reason, message: String| {
        Err(NodeState::Failing { updated: true, reason: reason.as_str().into(), message })
    };
    let Some(runtime) = view.runtime else { return Ok(()) };
    if let Some(problem) = runtime.problems.iter().find(concerns_source) {
        let (reason, message) = (problem.reason.clone(), problem.message.clone());
        return Err(NodeState::Failing { updated: true, reason, message });
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

fn is_prefix(prefix: &str, digest: &str) -> bool {
    !prefix.is_empty() && digest.starts_with(prefix)
}

/// The agent's own condition Ready counts only against the stack: a policy that fails to load concerns that policy
/// alone.
fn check_stack_ready(view: &NodeView<'_>, input: &StatusInput) -> Check {
    let not_ready = view.runtime.and_then(|runtime| runtime.not_ready.as_ref());
    match (&input.requested, not_ready) {
        (Requested::Profile(_), Some((reason, message))) => {
            Err(NodeState::Failing { updated: true, reason: reason.clone(), message: message.clone() })
        }
        _ => Ok(()),
    }
}
