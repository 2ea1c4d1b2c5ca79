//! From a tally to conditions: the contract of docs/reasons.md. Pure.

use trilobite_crds::{
    Failure, NodeCounts, Reason,
    condition::{ConditionStatus, ConditionType, Finding},
    node::SourceKind,
};

use super::{
    asked::{Asked, Rollout, SessionAsked, Wanted},
    tally::Tally,
    words,
};

/// How a session fares on all nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionTally {
    pub(crate) records: i64,
    pub(crate) lost: i64,
    pub(crate) nodes: i32,
    pub(crate) over: Option<Over>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Time,
    Limit,
}

/// What is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) tally: &'a Tally,
    pub(crate) failures: &'a [Failure],
    pub(crate) rollout: &'a Rollout,
    /// Nodes that are the stack's, counted or not; none while that is not known.
    pub(crate) selected: Option<usize>,
    /// Where the agents' pods are.
    pub(crate) namespace: &'a str,
    pub(crate) session: SessionTally,
    pub(crate) trouble: Option<(Reason, &'a str)>,
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Completed, Degraded, Programmed, Ready, Reconciling, Stalled};

/// Every condition that is to stand.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = vec![ready(case), programmed(case), accepted(case), degraded(case)];
    findings.extend(moving(case));
    findings.extend(completed(case));
    findings
}

/// Why nothing is evaluated beyond the spec itself.
fn held_back(case: &Case<'_>) -> Option<(ConditionStatus, Reason, String)> {
    let asked = case.asked;
    if !asked.refusals.is_empty() {
        return Some((False, Reason::NotAccepted, words::not_accepted().into()));
    }
    if asked.suspended {
        let stack = asked.source.kind == SourceKind::ObservabilityStack;
        let text = if stack { words::suspended_stack() } else { words::suspended() };
        return Some((False, Reason::Suspended, text.into()));
    }
    if asked.wanted == Wanted::Nothing {
        return Some((Unknown, Reason::Pending, words::pending().into()));
    }
    None
}

fn ready(case: &Case<'_>) -> Finding {
    if let Some((status, reason, message)) = held_back(case) {
        return Finding::new(Ready, status, reason, message);
    }
    if let Some((status, reason, message)) = nowhere(case) {
        return Finding::new(Ready, status, reason, message);
    }
    let counts = &case.tally.counts;
    let tolerated = counts.desired / 100;
    if counts.desired > 0 && counts.ready >= counts.desired - tolerated {
        return Finding::new(Ready, True, Reason::Ready, words::ready(counts));
    }
    if counts.failing > tolerated {
        let message = words::too_many_failing(counts, case.failures);
        return Finding::new(Ready, False, Reason::TooManyNodesFailing, message);
    }
    Finding::new(Ready, False, Reason::Progressing, words::rolling_out(counts))
}

/// There is no node to be ready.
fn nowhere(case: &Case<'_>) -> Option<(ConditionStatus, Reason, String)> {
    if let Wanted::Session(session) = &case.asked.wanted {
        match &session.nodes {
            None => return Some((False, Reason::Progressing, words::looking_for_pods().into())),
            Some(nodes) if nodes.is_empty() => return Some((True, Reason::NoMatchingPods, no_pod(case, session))),
            Some(_) => {}
        }
    }
    let counts = &case.tally.counts;
    match (counts.desired, case.selected) {
        (0, Some(0)) => Some((True, Reason::NoMatchingNodes, no_node(case).into())),
        (0, Some(_)) => Some((False, Reason::Progressing, words::waiting_for_agents(case.namespace, counts))),
        (0, None) => Some((False, Reason::Progressing, words::pending().into())),
        _ => None,
    }
}

fn no_pod(case: &Case<'_>, session: &SessionAsked) -> String {
    let source = &case.asked.source;
    match &source.namespace {
        Some(namespace) if session.out_of_scope => words::namespace_out_of_scope(source.kind, namespace),
        _ => words::no_matching_pods().into(),
    }
}

fn no_node(case: &Case<'_>) -> &'static str {
    match case.asked.wanted {
        Wanted::Session(_) => words::pods_elsewhere(),
        _ if case.asked.source.kind == SourceKind::ObservabilityStack => words::no_matching_nodes(),
        _ => words::no_matching_nodes_here(),
    }
}

fn programmed(case: &Case<'_>) -> Finding {
    let finding = |status, reason, message: String| Finding::new(Programmed, status, reason, message);
    if !case.asked.refusals.is_empty() {
        return finding(False, Reason::NotAccepted, words::not_accepted().into());
    }
    if case.asked.wanted == Wanted::Nothing {
        let (status, reason, message) = held_back(case).unwrap_or((Unknown, Reason::Pending, words::pending().into()));
        return finding(status, reason, message);
    }
    if let Some((_, reason, message)) = nowhere(case) {
        let reason = if reason == Reason::Progressing { Reason::WaitingForAgents } else { reason };
        return finding(False, reason, message);
    }
    if let (Rollout::Halted { failing, told }, true) = (case.rollout, follows_the_rollout(case)) {
        return finding(False, Reason::RolloutHalted, words::halted(*failing, *told));
    }
    let counts = &case.tally.counts;
    if case.tally.pending() == 0 && counts.updated == counts.desired {
        return finding(True, Reason::AllNodesApplied, words::all_applied(counts));
    }
    if counts.updated == 0 && counts.ready == 0 {
        return finding(False, Reason::WaitingForAgents, words::waiting_for_agents(case.namespace, counts));
    }
    finding(False, Reason::RollingOut, words::rolling_out(counts))
}

/// Whether the change that is under way concerns it. A part that every node was told of, in whichever profile, is no part of
/// what has stopped.
fn follows_the_rollout(case: &Case<'_>) -> bool {
    match case.asked.wanted {
        Wanted::Profile(_) => true,
        Wanted::Part { .. } => case.tally.counts.updated < case.tally.counts.desired,
        Wanted::Nothing | Wanted::Session(_) => false,
    }
}

fn accepted(case: &Case<'_>) -> Finding {
    match case.asked.refusals.first() {
        Some(first) => Finding::new(Accepted, False, first.reason, words::refused(&case.asked.refusals)),
        None => Finding::new(Accepted, True, Reason::Valid, words::accepted()),
    }
}

fn degraded(case: &Case<'_>) -> Finding {
    let fine = || Finding::new(Degraded, False, Reason::AsExpected, words::as_expected());
    // What is refused of a stack does not hide how the rest of it fares.
    if case.asked.wanted == Wanted::Nothing {
        return fine();
    }
    if let Some((True, reason, message)) = nowhere(case) {
        return Finding::new(Degraded, True, reason, message);
    }
    if case.tally.counts.failing == 0 {
        return fine();
    }
    let reason = case.tally.only_reason().map_or(Reason::Mixed, |word| word.parse().unwrap_or(Reason::LoadFailed));
    Finding::new(Degraded, True, reason, words::worst(case.failures))
}

/// Reconciling or Stalled, while true.
fn moving(case: &Case<'_>) -> Option<Finding> {
    if let Some(first) = case.asked.refusals.first() {
        let r#type = if heals_elsewhere(first.reason) { Reconciling } else { Stalled };
        return Some(Finding::new(r#type, True, first.reason, words::refused(&case.asked.refusals)));
    }
    match case.trouble {
        Some((Reason::AccessDenied, why)) => {
            return Some(Finding::new(Stalled, True, Reason::AccessDenied, words::denied(why)));
        }
        Some((reason, why)) => return Some(Finding::new(Reconciling, True, reason, words::trouble(why))),
        None => {}
    }
    if let (Rollout::Halted { failing, told }, true) = (case.rollout, follows_the_rollout(case)) {
        return Some(Finding::new(Stalled, True, Reason::RolloutHalted, words::halted(*failing, *told)));
    }
    if case.asked.wanted == Wanted::Nothing {
        let waits = !case.asked.suspended;
        return waits.then(|| Finding::new(Reconciling, True, Reason::Progressing, words::pending()));
    }
    let message = match nowhere(case) {
        Some((False, Reason::Progressing, message)) => message,
        Some(_) => return None,
        None if case.tally.pending() > 0 => words::rolling_out(&case.tally.counts),
        None => return None,
    };
    Some(Finding::new(Reconciling, True, Reason::Progressing, message))
}

/// Whether another object can heal it: then whoever waits, waits on, and nobody has to touch this one.
fn heals_elsewhere(reason: Reason) -> bool {
    matches!(reason, Reason::NoStack | Reason::LayerDisabled | Reason::NotAccepted)
}

fn completed(case: &Case<'_>) -> Option<Finding> {
    let Wanted::Session(session) = &case.asked.wanted else { return None };
    let what = if case.asked.source.kind == SourceKind::AppProfile { "samples" } else { "flow records" };
    let SessionTally { records, lost, nodes, over } = case.session;
    let so_far = words::records(what, records, lost, nodes);
    Some(match over {
        None => Finding::new(Completed, False, Reason::Running, words::running_until(session.expires_at, &so_far)),
        Some(Over::Time) => Finding::new(Completed, True, Reason::DurationElapsed, words::ended(&so_far)),
        Some(Over::Limit) => Finding::new(Completed, True, Reason::LimitReached, words::ended_early(&so_far)),
    })
}

/// The sentence that stands above the Events.
pub(crate) fn summary(case: &Case<'_>, counts: &NodeCounts) -> String {
    let counted = words::summary(counts, case.failures);
    match (case.asked.refusals.as_slice(), &case.asked.wanted) {
        ([], _) => counted,
        (refusals, Wanted::Nothing) => words::summary_of_refused(refusals, None),
        (refusals, _) => words::summary_of_refused(refusals, Some(&counted)),
    }
}
