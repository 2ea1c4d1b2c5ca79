//! Computes the status of one resource from the index. Pure; time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use trilobite_crds::{
    ResourceStatus,
    bounds::MAX_COUNT,
    condition::{ConditionStatus, ConditionType, find, merge},
    node::{RESULT_WITHIN, STANDING_PROFILE, SessionState, SessionStatus, SourceKind},
    status::{MAX_FAILURES, ProfileResults, RequestsStatus},
};

use super::{ComputedStatus, Entry, Index, silent::silent_agent};
use crate::{
    resource_key::ResourceKey,
    stack_nodes::NodeSelection,
    status::{
        controller_report::{Requested, SessionRequest, StatusInput},
        decide_conditions::{Evaluation, SessionEnd, SessionResults, findings, summary},
        facts::{AgentFact, NodeFact},
        messages,
        node_state::{GracePeriods, NodeView, evaluate_node, notes, port_problem},
        node_summary::NodeSummary,
        request_sums::sum_requests,
        silent_agents::BETWEEN_WRITES,
        user_status::UserStatus,
    },
};

/// How long after its end a session waits for the nodes' final reports: the time an agent has to make a result, and a
/// margin for writing it.
const FINAL_REPORT_TIMEOUT: Duration = RESULT_WITHIN.saturating_add(Duration::from_secs(15));

/// How old the counts of the standing profile's rows may be in the stack's status.
const RENEW_ROWS: Duration = Duration::from_secs(30);

/// How old the time of the stack's status may be: one write for the cluster in this time.
const RENEW_OBSERVATION: Duration = Duration::from_secs(5 * 60);

impl Index {
    /// The status of one resource at `now`, with transition times taken from `last`; none if the resource is unknown.
    pub(crate) fn compute(&self, key: &ResourceKey, last: &UserStatus, now: Timestamp) -> Option<ComputedStatus> {
        let entry = self.entries.get(key)?;
        let input = &entry.input;
        if let Requested::Session(session) = &input.requested {
            let unchanged =
                |recompute_at| Some(ComputedStatus { status: last.clone(), recompute_at, silent_agents: Vec::new() });
            // A completed session keeps its status, whatever happens to its nodes.
            if is_completed(last, input.source.generation) {
                return unchanged(None);
            }
            // After a restart, a running session keeps the status of the previous operator until the stack's nodes are
            // known.
            if self.selection.is_none() && last.started_at.is_some() && now < session.expires_at {
                return unchanged(Some(session.expires_at));
            }
        }
        let (mut nodes, selected) = self.summarize_nodes(entry, now);
        let session = session_results(entry, &mut nodes, now);
        let requests = self.requests(entry);
        if input.standing.is_some() {
            // Counts alone do not make the stack dirty: each node's change all the time.
            nodes.recompute_by(now.checked_add(RENEW_ROWS).ok());
        }
        let (failures, ports) = (nodes.failures(), nodes.closed_ports());
        let evaluation = Evaluation {
            input,
            nodes: &nodes,
            failures: &failures,
            rollout: &self.rollout,
            selected,
            namespace: &self.namespace,
            session,
            requests: requests.as_ref(),
            pods_selected: matches!(input.requested, Requested::Part { .. }).then_some(nodes.pods_selected),
            relay: self.relay.as_ref().filter(|_| input.source.kind == SourceKind::ObservabilityStack),
            ports: &ports,
            reconcile_error: entry.reconcile_error.as_ref().map(|(reason, why)| (*reason, why.as_str())),
        };
        let has_counts = input.requested != Requested::Nothing;
        let common = ResourceStatus {
            conditions: merge(&last.common.conditions, &findings(&evaluation), input.source.generation, now),
            nodes: has_counts.then(|| nodes.counts.clone()),
            observed_generation: input.source.generation,
            pods_selected: evaluation.pods_selected,
            // None has a dry run active.
            ready_nodes: (has_counts && !input.requested.is_dry_run()).then(|| messages::ready_nodes(&nodes.counts)),
            summary: Some(summary(&evaluation, &nodes.counts)),
            failures: failures.iter().chain(&ports).take(MAX_FAILURES).cloned().collect(),
        };
        let (started_at, expires_at) = match &input.requested {
            Requested::Session(SessionRequest { started_at, expires_at, .. }) => (Some(*started_at), Some(*expires_at)),
            _ => (last.started_at, last.expires_at),
        };
        let samples_cpu = matches!(&input.requested, Requested::Session(session) if session.samples_cpu);
        let results = (input.source.kind == SourceKind::AppProfile && samples_cpu && session.nodes > 0)
            .then_some(ProfileResults { lost: session.lost, nodes: session.nodes, samples: session.records })
            .or_else(|| last.results.clone());
        let requests =
            requests.or_else(|| last.requests.clone().filter(|_| input.source.kind == SourceKind::AppProfile));
        let mut status = UserStatus { common, started_at, expires_at, requests, results, ..UserStatus::default() };
        if input.source.kind == SourceKind::ObservabilityStack {
            status.foreign_policies = self.foreign_policies(now);
            let (observed_at, renew_at) = observation(&status.common, last, now);
            status.observed_at = Some(observed_at);
            nodes.recompute_by(Some(renew_at));
        }
        if !nodes.silent.is_empty() {
            // What is not written by then, e.g. since the writer had written about the node just before, is reported again.
            nodes.recompute_by(now.checked_add(BETWEEN_WRITES).ok());
        }
        Some(ComputedStatus { status, recompute_at: nodes.recompute_at, silent_agents: nodes.silent })
    }

    /// The sums of a session's requests, or of the standing profile's.
    fn requests(&self, entry: &Entry) -> Option<RequestsStatus> {
        let Requested::Profile(_) = entry.input.requested else {
            return sum_requests(entry.session_statuses.values().filter_map(|status| status.requests.as_ref()));
        };
        let runtimes = self.runtimes.iter().filter(|(node, _)| self.nodes.contains_key(*node));
        let sessions = runtimes.flat_map(|(_, runtime)| &runtime.sessions);
        let standing = sessions.filter(|status| status.name == STANDING_PROFILE && entry.input.standing.is_some());
        sum_requests(standing.filter_map(|status| status.requests.as_ref()))
    }

    /// The summary, and the number of nodes that the stack selects; none while the stack is unknown.
    fn summarize_nodes(&self, entry: &Entry, now: Timestamp) -> (NodeSummary, Option<usize>) {
        let (mut summary, mut selected) = (NodeSummary::default(), 0);
        let input = &entry.input;
        let Some(selection) = self.selection.as_ref().filter(|_| input.requested != Requested::Nothing) else {
            return (summary, None);
        };
        let live_profiles = self.live_profiles(input);
        for (name, node) in &self.nodes {
            let is_requested = match &input.requested {
                Requested::Session(session) => session.nodes.as_ref().is_some_and(|nodes| nodes.contains(name)),
                _ => true,
            };
            let agent = self.agent_on(name);
            if !is_requested {
                continue;
            }
            if !selection.selects(&node.labels, &node.taints, agent.is_some()) {
                summary.unselected += 1;
                continue;
            }
            selected += 1;
            let view = self.view(name, node, agent, entry, selection, now);
            let evaluation = evaluate_node(&view, input, &live_profiles, self.grace, now);
            let grace_end = new_node_grace_end(node, selection, self.grace);
            let in_grace = grace_end.filter(|end| now < *end && !evaluation.state.is_ready());
            if node.deleting {
                summary.add_leaving();
                continue;
            }
            if let Requested::Part { digest, .. } = &input.requested
                && evaluation.state.is_ready()
                && view.runtime.is_some_and(|runtime| runtime.skips(digest))
            {
                summary.add_skipped();
                continue;
            }
            match &input.requested {
                Requested::Profile(_) => summary.silent.extend(silent_agent(&view, &evaluation.state)),
                Requested::Part { digest, .. } if evaluation.state.is_ready() => {
                    let selected = view.runtime.map_or(0, |runtime| runtime.pods_selected_by(digest));
                    summary.pods_selected = summary.pods_selected.saturating_add(selected);
                }
                _ => {}
            }
            if evaluation.state.is_ready() {
                let notes = view.runtime.into_iter().flat_map(|runtime| notes(runtime, &input.source));
                summary.notes.extend(notes.map(|note| (note.reason.clone(), note.message.clone())));
            }
            if in_grace.is_some() {
                summary.recompute_by(in_grace);
                summary.add_joining();
                continue;
            }
            let kernel = view.runtime.map(|runtime| runtime.kernel.as_str()).filter(|kernel| !kernel.is_empty());
            let kernel = kernel.unwrap_or(&node.kernel);
            if let (Requested::Profile(_), Some(problem)) = (&input.requested, port_problem(&view)) {
                summary.add_closed_port(name, kernel, problem);
            }
            summary.add(name, kernel, evaluation);
        }
        (summary, Some(selected))
    }

    pub(super) fn agent_on(&self, node: &str) -> Option<&AgentFact> {
        let pod_by_node = self
            .pod_by_node
            .get_or_init(|| self.agents.iter().map(|(pod, agent)| (agent.node.clone(), pod.clone())).collect());
        pod_by_node.get(node).and_then(|pod| self.agents.get(pod))
    }

    pub(super) fn view<'a>(
        &'a self,
        name: &'a str,
        node: &NodeFact,
        agent: Option<&'a AgentFact>,
        entry: &'a Entry,
        selection: &NodeSelection,
        now: Timestamp,
    ) -> NodeView<'a> {
        let times = [node.created, selection.stack_created, self.since.get(name).copied()];
        NodeView {
            name,
            agent,
            silent: node.silent,
            since: times.into_iter().flatten().max().unwrap_or(now),
            runtime: self.runtimes.get(name),
            session: entry.session_statuses.get(name),
            namespace: &self.namespace,
            template: self.template.as_deref(),
            pods_refused: self.pods_refused.as_ref().map(|(why, _)| why),
        }
    }

    /// Digests of the profiles with which the resource is active: for a policy those that contain its part, for the stack
    /// those that were planned since its spec last changed.
    pub(super) fn live_profiles(&self, input: &StatusInput) -> BTreeSet<String> {
        match &input.requested {
            Requested::Profile(profile) => {
                let generation = input.source.generation;
                let current = self.planned_for.iter().filter(|(_, planned_for)| **planned_for >= generation);
                current.map(|(profile, _)| profile.clone()).chain([profile.digest.clone()]).collect()
            }
            Requested::Part { profile, digest, .. } => {
                let containing = self.profiles.iter().filter(|(_, parts)| parts.contains(digest));
                containing.map(|(profile, _)| profile.clone()).chain([profile.digest.clone()]).collect()
            }
            Requested::Nothing | Requested::Session(_) => BTreeSet::new(),
        }
    }
}

/// The time that the stack's status carries, and when to renew it: with each change, and when it gets too old.
fn observation(status: &ResourceStatus, last: &UserStatus, now: Timestamp) -> (Timestamp, Timestamp) {
    let renewal = |at: Timestamp| at.checked_add(RENEW_OBSERVATION).unwrap_or(Timestamp::MAX);
    let current = last.observed_at.filter(|at| *status == last.common && (*at..renewal(*at)).contains(&now));
    let observed_at = current.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    (observed_at, renewal(observed_at))
}

fn session_results(entry: &Entry, nodes: &mut NodeSummary, now: Timestamp) -> SessionResults {
    let Requested::Session(session) = &entry.input.requested else { return SessionResults::default() };
    let final_report_by = session.expires_at.checked_add(FINAL_REPORT_TIMEOUT).unwrap_or(Timestamp::MAX);
    let end = session_end(session, &entry.session_statuses, final_report_by, now);
    if end.is_none() {
        nodes.recompute_by(Some(if now < session.expires_at { session.expires_at } else { final_report_by }));
    }
    let statuses = entry.session_statuses.values();
    let without_end = |node: &&String| !entry.session_statuses.get(*node).is_some_and(has_ended);
    let unreported = session.nodes.iter().flatten().filter(without_end).count();
    SessionResults {
        // A node that the stack leaves out has nothing to report.
        unreported: i32::try_from(unreported).unwrap_or(i32::MAX).saturating_sub(nodes.unselected).max(0),
        records: sum_counts(statuses.clone().map(|status| status.records)),
        lost: sum_counts(statuses.clone().map(|status| status.lost)),
        nodes: i32::try_from(statuses.filter(|status| has_result(status)).count()).unwrap_or(i32::MAX),
        end,
    }
}

/// Nodes report the counts, so they may be anything; a sum that the schema refuses would make the status unwritable.
fn sum_counts(counts: impl Iterator<Item = i64>) -> i64 {
    counts.fold(0, |sum: i64, count| sum.saturating_add(count.max(0))).min(MAX_COUNT)
}

fn session_end(
    session: &SessionRequest,
    statuses: &BTreeMap<String, SessionStatus>,
    final_report_by: Timestamp,
    now: Timestamp,
) -> Option<SessionEnd> {
    let requested = session.nodes.iter().flatten();
    let all_ended = requested.clone().all(|node| statuses.get(node).is_some_and(has_ended));
    let any_completed = statuses.values().any(|status| status.state == SessionState::Completed);
    if now >= session.expires_at {
        return (all_ended || now >= final_report_by).then_some(SessionEnd::DurationElapsed);
    }
    (all_ended && any_completed && requested.count() > 0).then_some(SessionEnd::LimitReached)
}

/// Whether the status says that this generation's session is completed.
fn is_completed(status: &UserStatus, generation: i64) -> bool {
    let completed = find(&status.common.conditions, ConditionType::Completed);
    status.common.observed_generation == generation
        && completed.is_some_and(|completed| completed.status == ConditionStatus::True)
}

fn has_ended(status: &SessionStatus) -> bool {
    status.state != SessionState::Running
}

/// Whether the node contributes to the session's result.
fn has_result(status: &SessionStatus) -> bool {
    matches!(status.state, SessionState::Running | SessionState::Completed)
}

/// When a node that is newer than the stack starts to count although it is not ready.
fn new_node_grace_end(node: &NodeFact, selection: &NodeSelection, grace: GracePeriods) -> Option<Timestamp> {
    let is_new = |created: &Timestamp| selection.stack_created.is_some_and(|stack_created| *created > stack_created);
    node.created.filter(is_new)?.checked_add(grace.node).ok()
}
