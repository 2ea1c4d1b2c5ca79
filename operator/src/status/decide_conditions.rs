//! From a node summary to conditions: the contract of docs/reasons.md. Pure.

use trilobite_crds::{
    Failure, NodeCounts, Reason,
    condition::{ConditionStatus, ConditionType, Finding},
    node::SourceKind,
    status::RequestsStatus,
};

use super::{
    controller_report::{Requested, Rollout, SessionRequest, StatusInput},
    messages,
    node_summary::NodeSummary,
    relay::{RelayState, port_reason, relay_ready},
    rows_seen::rows_seen,
};

/// The sums of a session over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionResults {
    pub(crate) records: i64,
    pub(crate) lost: i64,
    pub(crate) nodes: i32,
    /// Nodes that have not reported the end of their part.
    pub(crate) unreported: i32,
    /// None while it runs.
    pub(crate) end: Option<SessionEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    DurationElapsed,
    LimitReached,
}

/// What the conditions of one resource are computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evaluation<'a> {
    pub(crate) input: &'a StatusInput,
    pub(crate) nodes: &'a NodeSummary,
    pub(crate) failures: &'a [Failure],
    pub(crate) rollout: &'a Rollout,
    /// Number of nodes that the stack selects, counted or not; none while the stack is unknown.
    pub(crate) selected: Option<usize>,
    /// Namespace of the agents' pods.
    pub(crate) namespace: &'a str,
    pub(crate) session: SessionResults,
    /// Sums of the requests of a session; none until a node has reported any.
    pub(crate) requests: Option<&'a RequestsStatus>,
    /// Pods that a policy selects now; none for other resources.
    pub(crate) pods_selected: Option<i32>,
    /// Of the stack's relay; none for other resources, and until the stack was reconciled.
    pub(crate) relay: Option<&'a RelayState>,
    /// Nodes whose port for the relay is closed.
    pub(crate) ports: &'a [Failure],
    pub(crate) reconcile_error: Option<(Reason, &'a str)>,
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Completed, Degraded, Programmed, Ready, Reconciling, Stalled};

pub(crate) fn findings(evaluation: &Evaluation<'_>) -> Vec<Finding> {
    let mut findings = vec![ready(evaluation), programmed(evaluation), accepted(evaluation), degraded(evaluation)];
    findings.extend(
        evaluation
            .relay
            .map(|relay| relay_ready(relay, evaluation.ports, &evaluation.nodes.counts, evaluation.namespace)),
    );
    findings.extend(rows_seen(
        evaluation.input,
        evaluation.requests,
        evaluation.failures,
        &evaluation.nodes.counts,
        |session| no_matching_pods(evaluation, session),
    ));
    findings.extend(reconciling_or_stalled(evaluation));
    findings.extend(completed(evaluation));
    findings
}

/// Why nodes are not evaluated at all.
fn blocked(evaluation: &Evaluation<'_>) -> Option<(ConditionStatus, Reason, String)> {
    let input = evaluation.input;
    if !input.refusals.is_empty() {
        return Some((False, Reason::NotAccepted, messages::not_accepted().into()));
    }
    if input.suspended {
        let text = match input.requested {
            Requested::Profile(_) => messages::suspended_stack(&evaluation.nodes.counts, evaluation.nodes.answered),
            _ => messages::suspended().into(),
        };
        return Some((False, Reason::Suspended, text));
    }
    if input.requested == Requested::Nothing {
        return Some((Unknown, Reason::Pending, messages::pending().into()));
    }
    None
}

fn ready(evaluation: &Evaluation<'_>) -> Finding {
    if let Some((status, reason, message)) = blocked(evaluation) {
        return Finding::new(Ready, status, reason, message);
    }
    if let Some((reason, message)) = no_nodes(evaluation) {
        return Finding::new(Ready, False, reason, message);
    }
    let counts = &evaluation.nodes.counts;
    if counts.desired > 0 && counts.ready >= counts.desired - tolerated(counts) {
        let dry_run = evaluation.input.requested.is_dry_run();
        let message = match dry_run {
            true => messages::dry_run(counts, left_out(evaluation)),
            false => messages::ready(counts, left_out(evaluation)),
        };
        let message = messages::with_pods_selected(message, evaluation.pods_selected);
        let message = messages::with_notes(message, &evaluation.nodes.notes);
        // What is not loaded is not ready.
        let (status, reason) = if dry_run { (False, Reason::DryRun) } else { (True, Reason::Ready) };
        return Finding::new(Ready, status, reason, message);
    }
    if counts.failing > tolerated(counts) {
        let message = messages::too_many_failing(counts, evaluation.failures);
        return Finding::new(Ready, False, Reason::TooManyNodesFailing, message);
    }
    Finding::new(Ready, False, Reason::Progressing, messages::rolling_out(counts))
}

/// Nodes that may fail while the resource is ready.
fn tolerated(counts: &NodeCounts) -> i32 {
    counts.desired / 100
}

/// Why no node counts: no pod or node is selected, or none is known yet. What selects nothing is never ready.
fn no_nodes(evaluation: &Evaluation<'_>) -> Option<(Reason, String)> {
    if let Requested::Session(session) = &evaluation.input.requested {
        match &session.nodes {
            None => return Some((Reason::Progressing, messages::listing_pods().into())),
            Some(nodes) if nodes.is_empty() => {
                return Some((Reason::NoMatchingPods, no_matching_pods(evaluation, session)));
            }
            Some(_) => {}
        }
    }
    if let Requested::Part { out_of_scope: true, .. } = evaluation.input.requested {
        return Some((Reason::NoMatchingPods, messages::namespace_out_of_scope(&evaluation.input.source)));
    }
    let NodeSummary { counts, joining, skipped, .. } = evaluation.nodes;
    match (counts.desired, evaluation.selected) {
        (0, Some(_)) if *skipped > 0 && *skipped == counts.excluded => {
            Some((Reason::NoMatchingNodes, messages::all_nodes_skipped(*skipped)))
        }
        (0, Some(0)) => Some((Reason::NoMatchingNodes, no_matching_nodes(evaluation))),
        (0, Some(_)) => Some((Reason::Progressing, messages::waiting_for_new_nodes(counts, *joining))),
        (0, None) => Some((Reason::Progressing, messages::pending().into())),
        _ => None,
    }
}

/// The nodes that a stack or a session leaves out, in words.
fn unselected(evaluation: &Evaluation<'_>) -> Option<String> {
    let count = Some(evaluation.nodes.unselected).filter(|count| *count > 0)?;
    match evaluation.input.requested {
        Requested::Profile(_) => Some(messages::nodes_outside_the_stack(count)),
        Requested::Session(_) => Some(messages::pods_outside_the_stack(count)),
        Requested::Nothing | Requested::Part { .. } => None,
    }
}

/// The nodes that the resource leaves out, in words.
fn left_out(evaluation: &Evaluation<'_>) -> Option<String> {
    let skipped = Some(evaluation.nodes.skipped).filter(|count| *count > 0).map(messages::skipped_nodes);
    skipped.or_else(|| unselected(evaluation))
}

fn no_matching_pods(evaluation: &Evaluation<'_>, session: &SessionRequest) -> String {
    if session.out_of_scope {
        return messages::namespace_out_of_scope(&evaluation.input.source);
    }
    messages::no_matching_pods().into()
}

fn no_matching_nodes(evaluation: &Evaluation<'_>) -> String {
    match evaluation.input.requested {
        Requested::Session(_) => messages::pods_on_unselected_nodes().into(),
        Requested::Profile(_) => messages::no_matching_nodes(evaluation.nodes.unselected),
        Requested::Nothing | Requested::Part { .. } => messages::no_matching_nodes_of_stack().into(),
    }
}

fn programmed(evaluation: &Evaluation<'_>) -> Finding {
    let finding = |status, reason, message: String| Finding::new(Programmed, status, reason, message);
    if !evaluation.input.refusals.is_empty() {
        return finding(False, Reason::NotAccepted, messages::not_accepted().into());
    }
    if evaluation.input.requested == Requested::Nothing {
        let pending = (Unknown, Reason::Pending, messages::pending().into());
        let (status, reason, message) = blocked(evaluation).unwrap_or(pending);
        return finding(status, reason, message);
    }
    if let Some((reason, message)) = no_nodes(evaluation) {
        let reason = if reason == Reason::Progressing { Reason::WaitingForAgents } else { reason };
        return finding(False, reason, message);
    }
    if let (Rollout::Halted { failing, updated }, true) = (evaluation.rollout, is_part_of_rollout(evaluation)) {
        return finding(False, Reason::RolloutHalted, messages::halted(*failing, *updated));
    }
    let NodeSummary { counts, answered, reported, .. } = evaluation.nodes;
    if counts.updated == counts.desired && *answered == counts.desired {
        return finding(True, Reason::AllNodesApplied, messages::all_updated(counts));
    }
    if *reported == 0 {
        return finding(False, Reason::WaitingForAgents, messages::waiting_for_agents(evaluation.namespace, counts));
    }
    finding(False, Reason::RollingOut, messages::not_all_answered(counts, *answered))
}

/// Whether the current rollout changes this resource. A part that every node has already, in the old profile or the new
/// one, does not depend on it.
fn is_part_of_rollout(evaluation: &Evaluation<'_>) -> bool {
    match evaluation.input.requested {
        Requested::Profile(_) => true,
        Requested::Part { .. } => evaluation.nodes.counts.updated < evaluation.nodes.counts.desired,
        Requested::Nothing | Requested::Session(_) => false,
    }
}

fn accepted(evaluation: &Evaluation<'_>) -> Finding {
    match evaluation.input.refusals.first() {
        Some(first) => Finding::new(Accepted, False, first.reason, messages::refused(&evaluation.input.refusals)),
        None => Finding::new(Accepted, True, Reason::Valid, messages::accepted()),
    }
}

fn degraded(evaluation: &Evaluation<'_>) -> Finding {
    let as_expected = || Finding::new(Degraded, False, Reason::AsExpected, messages::as_expected());
    // A stack that is refused in part still shows failures of the rest.
    if evaluation.input.requested == Requested::Nothing {
        return as_expected();
    }
    if let Some((reason, message)) = no_nodes(evaluation).filter(|(reason, _)| *reason != Reason::Progressing) {
        return Finding::new(Degraded, True, reason, message);
    }
    if evaluation.nodes.counts.failing == 0 {
        let closed = |reason| Finding::new(Degraded, True, reason, messages::ports_closed(evaluation.ports));
        return port_reason(evaluation.ports).map_or_else(as_expected, closed);
    }
    Finding::new(Degraded, True, failure_reason(evaluation), messages::worst_failure(evaluation.failures))
}

/// The reason of the failing nodes, if they have only one.
fn failure_reason(evaluation: &Evaluation<'_>) -> Reason {
    let single = evaluation.nodes.single_reason();
    single.map_or(Reason::Mixed, |reason| reason.parse().unwrap_or(Reason::LoadFailed))
}

/// Reconciling or Stalled; both are only present while true.
fn reconciling_or_stalled(evaluation: &Evaluation<'_>) -> Option<Finding> {
    if let Some(first) = evaluation.input.refusals.first() {
        let r#type = if depends_on_other_object(first.reason) { Reconciling } else { Stalled };
        return Some(Finding::new(r#type, True, first.reason, messages::refused(&evaluation.input.refusals)));
    }
    match evaluation.reconcile_error {
        Some((Reason::AccessDenied, why)) => {
            return Some(Finding::new(Stalled, True, Reason::AccessDenied, messages::denied(why)));
        }
        Some((reason, why)) => return Some(Finding::new(Reconciling, True, reason, messages::retrying(why))),
        None => {}
    }
    if let (Rollout::Halted { failing, updated }, true) = (evaluation.rollout, is_part_of_rollout(evaluation)) {
        return Some(Finding::new(Stalled, True, Reason::RolloutHalted, messages::halted(*failing, *updated)));
    }
    if evaluation.input.requested == Requested::Nothing {
        let waits = !evaluation.input.suspended;
        return waits.then(|| Finding::new(Reconciling, True, Reason::Progressing, messages::pending()));
    }
    if evaluation.session.end.is_some() {
        return ended_without_success(evaluation);
    }
    match no_nodes(evaluation) {
        Some((Reason::NoMatchingNodes, _)) if evaluation.input.suspended => None,
        Some((reason, message)) if is_stalled_without_nodes(evaluation, reason) => {
            Some(Finding::new(Stalled, True, reason, message))
        }
        Some((reason, message)) => Some(Finding::new(Reconciling, True, reason, message)),
        None if evaluation.nodes.pending() > 0 => {
            let message = messages::rolling_out(&evaluation.nodes.counts);
            Some(Finding::new(Reconciling, True, Reason::Progressing, message))
        }
        None if fails_for_good(evaluation) => {
            let message = messages::too_many_failing(&evaluation.nodes.counts, evaluation.failures);
            Some(Finding::new(Stalled, True, failure_reason(evaluation), message))
        }
        None => None,
    }
}

/// Whether more nodes than tolerated fail until a user changes something. The other nodes have answered by then, or fail
/// as well.
fn fails_for_good(evaluation: &Evaluation<'_>) -> bool {
    evaluation.nodes.failing_for_good > tolerated(&evaluation.nodes.counts)
}

/// Only the stack's own selector stalls it: a policy waits for the stack, a session for a pod, and a cluster without nodes
/// for its first.
fn is_stalled_without_nodes(evaluation: &Evaluation<'_>, reason: Reason) -> bool {
    reason == Reason::NoMatchingNodes
        && matches!(evaluation.input.requested, Requested::Profile(_))
        && evaluation.nodes.unselected > 0
}

/// A session that has ended does not start again, so whatever kept it from being ready is final.
fn ended_without_success(evaluation: &Evaluation<'_>) -> Option<Finding> {
    let Finding { status, reason, message, .. } = ready(evaluation);
    let reason = match reason {
        _ if status == True => return None,
        Reason::TooManyNodesFailing => failure_reason(evaluation),
        Reason::Progressing => Reason::AgentSilent,
        other => other,
    };
    Some(Finding::new(Stalled, True, reason, message))
}

/// Whether a change of another object resolves the refusal, so that clients that wait for this one should keep waiting.
fn depends_on_other_object(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoStack
            | Reason::LayerDisabled
            | Reason::NotAccepted
            | Reason::NamespaceBudgetExceeded
            | Reason::PayloadsNotAllowed
    )
}

fn completed(evaluation: &Evaluation<'_>) -> Option<Finding> {
    let Requested::Session(session) = &evaluation.input.requested else { return None };
    let unit = if evaluation.input.source.kind == SourceKind::AppProfile { "samples" } else { "flow records" };
    let SessionResults { records, lost, nodes, unreported, end } = evaluation.session;
    let has_records = session.samples_cpu || session.requests.is_none();
    let records_so_far = has_records.then(|| messages::records(unit, records, lost, nodes));
    let rows_so_far = session.requests.is_some().then(|| messages::rows_of_nodes(evaluation.requests));
    let so_far = records_so_far.into_iter().chain(rows_so_far).collect::<Vec<_>>().join("; ");
    let mut result = messages::with_unreported(&so_far, unreported);
    if evaluation.input.source.kind == SourceKind::AppProfile && session.samples_cpu && records > 0 {
        result = messages::with_fetch_command(&result, &evaluation.input.source);
    }
    if evaluation.requests.is_some_and(|requests| requests.total_rows > 0)
        && let Some(until) = session.rows_kept_until()
    {
        result = messages::with_read_command(&result, &evaluation.input.source, until);
    }
    Some(match end {
        None => Finding::new(Completed, False, Reason::Running, messages::running_until(session.expires_at, &so_far)),
        Some(SessionEnd::DurationElapsed) => {
            Finding::new(Completed, True, Reason::DurationElapsed, messages::ended(&result))
        }
        Some(SessionEnd::LimitReached) => {
            Finding::new(Completed, True, Reason::LimitReached, messages::ended_early(&result))
        }
    })
}

/// The sentence above the Events in `kubectl describe`.
pub(crate) fn summary(evaluation: &Evaluation<'_>, counts: &NodeCounts) -> String {
    let others = NodeCounts { excluded: counts.excluded - evaluation.nodes.skipped, ..counts.clone() };
    let mut counted = messages::summary(&others, evaluation.failures, left_out(evaluation));
    if evaluation.input.requested.is_dry_run() {
        counted = messages::summary_of_dry_run(&counted);
    }
    match (evaluation.input.refusals.as_slice(), &evaluation.input.requested) {
        ([], _) => counted,
        (refusals, Requested::Nothing) => messages::summary_of_refused(refusals, None),
        (refusals, _) => messages::summary_of_refused(refusals, Some(&counted)),
    }
}
