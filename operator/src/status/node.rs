//! How one node stands towards one resource: a chain of checks, each of which can end it. Pure; time is an argument.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use trilobite_crds::{
    node::{NodeProblem, SessionState, SessionStatus, SourceKind},
    reason::Reason,
};

use super::{
    asked::{Asked, Wanted},
    facts::{AgentFact, PodsRefused, RuntimeFact},
    words,
};

/// Times after which patience ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) node: Duration,
    pub(crate) agent: Duration,
}

/// All that is known of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeView<'a> {
    pub(crate) name: &'a str,
    pub(crate) agent: Option<&'a AgentFact>,
    /// Its kubelet has not been heard of for a while.
    pub(crate) silent: bool,
    /// Since when there is no agent, or the node was told what it now has to run.
    pub(crate) since: Timestamp,
    pub(crate) runtime: Option<&'a RuntimeFact>,
    /// What the session's last line said, kept when the node no longer says it.
    pub(crate) session: Option<&'a SessionStatus>,
    /// Where the agents' pods are.
    pub(crate) namespace: &'a str,
    /// From which template the agents' pods are made now.
    pub(crate) template: Option<&'a str>,
    /// Why the API server refuses the agents' pods.
    pub(crate) pods_refused: Option<&'a PodsRefused>,
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Something is on its way; it fails at the time given, if nothing happens.
    Pending {
        told: bool,
        until: Option<Timestamp>,
    },
    Ready,
    Failing {
        told: bool,
        reason: String,
        message: String,
    },
}

type Check = Result<(), Standing>;

/// Evaluates one node; `live` are the digests of profiles in which the wanted part is in force.
pub(crate) fn standing(
    view: &NodeView<'_>,
    asked: &Asked,
    live: &BTreeSet<String>,
    patience: Patience,
    now: Timestamp,
) -> Standing {
    let told = told(view, asked, live);
    let checks = || {
        session_is_not_over(view, asked)?;
        agent_is_there(view, told, patience, now)?;
        agent_is_the_wanted_one(view, asked)?;
        has_room(view, asked)?;
        was_told(told)?;
        has_answered(view, asked, live, told, patience, now)?;
        says_nothing_is_wrong(view, asked)?;
        stack_is_in_force(view, asked)
    };
    checks().err().unwrap_or(Standing::Ready)
}

fn told(view: &NodeView<'_>, asked: &Asked, live: &BTreeSet<String>) -> bool {
    let Some(runtime) = view.runtime else { return false };
    match &asked.wanted {
        Wanted::Nothing => true,
        Wanted::Profile(profile) => runtime.told.as_ref() == Some(profile),
        Wanted::Part { .. } => runtime.told.as_ref().is_some_and(|profile| live.contains(&profile.digest)),
        Wanted::Session(session) => view.session.is_some() || runtime.was_told(session),
    }
}

fn agent_is_there(view: &NodeView<'_>, told: bool, patience: Patience, now: Timestamp) -> Check {
    let fails = |reason: Reason, message: String| Standing::Failing { told, reason: reason.as_str().into(), message };
    let until = |since: Timestamp| since.checked_add(patience.agent).unwrap_or(Timestamp::MAX);
    match view.agent {
        Some(agent) if agent.ready => Ok(()),
        Some(agent) => {
            let patient = until(agent.since.unwrap_or(view.since));
            if now < patient {
                return Err(Standing::Pending { told, until: Some(patient) });
            }
            Err(match &agent.waiting {
                _ if view.silent => fails(Reason::AgentSilent, words::node_not_ready(view.name)),
                Some(word) => fails(Reason::AgentSilent, words::agent_waits(view.namespace, view.name, word)),
                None if agent.running => {
                    fails(Reason::AgentNotReady, words::agent_not_ready(view.namespace, view.name))
                }
                None => fails(Reason::AgentSilent, words::agent_does_not_run(view.namespace, view.name)),
            })
        }
        None => {
            if let Some(PodsRefused::BySecurity(why)) = view.pods_refused {
                return Err(fails(Reason::PodSecurityForbidden, words::pods_forbidden(view.namespace, why)));
            }
            let patient = until(view.since);
            if now < patient {
                return Err(Standing::Pending { told, until: Some(patient) });
            }
            Err(match view.pods_refused {
                Some(PodsRefused::Otherwise(why)) => {
                    fails(Reason::AgentSilent, words::pods_refused(view.namespace, why))
                }
                _ => fails(Reason::AgentSilent, words::agent_missing(view.namespace, view.name)),
            })
        }
    }
}

/// What the stack asks of its agents is in force when their pods are made from it; until then the DaemonSet replaces them.
fn agent_is_the_wanted_one(view: &NodeView<'_>, asked: &Asked) -> Check {
    let Wanted::Profile(_) = asked.wanted else { return Ok(()) };
    let of = view.agent.and_then(|agent| agent.template.as_deref());
    if view.template.is_none_or(|wanted| of == Some(wanted)) {
        Ok(())
    } else {
        Err(Standing::Pending { told: false, until: None })
    }
}

fn has_room(view: &NodeView<'_>, asked: &Asked) -> Check {
    match &asked.wanted {
        Wanted::Session(session) if session.full.contains(view.name) => Err(Standing::Failing {
            told: false,
            reason: Reason::NodeFull.as_str().into(),
            message: words::node_full(view.name),
        }),
        _ => Ok(()),
    }
}

fn was_told(told: bool) -> Check {
    if told { Ok(()) } else { Err(Standing::Pending { told, until: None }) }
}

/// A session that has come to its end stays as it ended, however its agent fares.
fn session_is_not_over(view: &NodeView<'_>, asked: &Asked) -> Check {
    let line = view.session.filter(|_| matches!(asked.wanted, Wanted::Session(_)));
    match line.map(|line| line.state) {
        Some(SessionState::Completed) => Err(Standing::Ready),
        Some(SessionState::Expired) => Err(Standing::Failing {
            told: true,
            reason: Reason::SessionExpired.as_str().into(),
            message: words::session_expired().into(),
        }),
        Some(SessionState::Running | SessionState::Refused) | None => Ok(()),
    }
}

fn has_answered(
    view: &NodeView<'_>,
    asked: &Asked,
    live: &BTreeSet<String>,
    told: bool,
    patience: Patience,
    now: Timestamp,
) -> Check {
    let answered = view.runtime.is_some_and(|runtime| match &asked.wanted {
        Wanted::Nothing => true,
        Wanted::Profile(profile) => runtime.applied.as_ref() == Some(profile),
        Wanted::Part { .. } => runtime.applied.as_ref().is_some_and(|profile| live.contains(&profile.digest)),
        Wanted::Session(_) => view.session.is_some(),
    });
    if answered {
        return Ok(());
    }
    let patient = view.since.checked_add(patience.agent).unwrap_or(Timestamp::MAX);
    if now < patient {
        return Err(Standing::Pending { told, until: Some(patient) });
    }
    let message = words::agent_has_not_answered(view.namespace, view.name);
    Err(Standing::Failing { told, reason: Reason::AgentSilent.as_str().into(), message })
}

fn says_nothing_is_wrong(view: &NodeView<'_>, asked: &Asked) -> Check {
    let ours = &asked.source;
    let about = |problem: &&NodeProblem| {
        let said = &problem.source;
        // What is wrong with the node as a whole is the stack's matter, whichever stack it was.
        let same_generation = said.generation == ours.generation || ours.kind == SourceKind::ObservabilityStack;
        (said.kind, &said.namespace, &said.name) == (ours.kind, &ours.namespace, &ours.name) && same_generation
    };
    let fails = |reason: Reason, message: String| {
        Err(Standing::Failing { told: true, reason: reason.as_str().into(), message })
    };
    let Some(runtime) = view.runtime else { return Ok(()) };
    if let Some(problem) = runtime.problems.iter().find(about) {
        let (reason, message) = (problem.reason.clone(), problem.message.clone());
        return Err(Standing::Failing { told: true, reason, message });
    }
    match &asked.wanted {
        // A node's list of problems is short; that of what it refused is not.
        Wanted::Part { digest, .. } if runtime.refused.iter().any(|refused| is_beginning(refused, digest)) => {
            fails(Reason::LoadFailed, words::part_refused(view.namespace, view.name))
        }
        Wanted::Session(_) if view.session.is_some_and(|line| line.state == SessionState::Refused) => {
            fails(Reason::LoadFailed, words::session_refused(view.name))
        }
        _ => Ok(()),
    }
}

fn is_beginning(refused: &str, digest: &str) -> bool {
    !refused.is_empty() && digest.starts_with(refused)
}

/// What the agent says of itself counts against the stack alone: a bad policy is the policy's own matter.
fn stack_is_in_force(view: &NodeView<'_>, asked: &Asked) -> Check {
    let not_ready = view.runtime.and_then(|runtime| runtime.not_ready.as_ref());
    match (&asked.wanted, not_ready) {
        (Wanted::Profile(_), Some((reason, message))) => {
            Err(Standing::Failing { told: true, reason: reason.clone(), message: message.clone() })
        }
        _ => Ok(()),
    }
}
