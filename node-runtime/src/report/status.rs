//! The NodeRuntime's status as a pure function of a snapshot. A healthy node has a short one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use trilobite_crds::{
    condition::{Condition, ConditionStatus, ConditionType, Finding, merge},
    node::{
        Desired, KernelFacts, MAX_SESSIONS, NodeProblem, NodeRuntimeStatus, PodsSelected, RequestsState,
        STANDING_PROFILE, SessionState, SessionStatus, Source, SourceKind, SourceLoss,
    },
    reason::Reason,
};

use crate::{
    kernel::{CgroupMode, Facts},
    plan::{UnitCount, UnitKey, UnitState},
    problem::Problem,
};

/// Most problems, refused parts, losses that a status lists: the schema's bounds.
const PROBLEMS_MAX: usize = 20;
const REFUSED_MAX: usize = 2048;
const LOSSES_MAX: usize = 64;
const SKIPPED_MAX: usize = 2048;
const PODS_SELECTED_MAX: usize = 2048;
/// Capabilities that the agent needs on every node, whatever is desired.
const CAPABILITIES: [&str; 6] =
    ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG"];

/// One unit, its state, and the resource that requested it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitReport {
    pub source: Source,
    pub state: UnitState,
    /// The part's digest; none for a session.
    pub part: Option<Arc<str>>,
}

/// Everything that status, health and metrics are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// `metadata.uid` of the NodeRuntime; none before there is one, and after it is gone.
    pub uid: Option<String>,
    /// `metadata.generation` of the NodeRuntime that `desired` came with.
    pub generation: i64,
    pub desired: Arc<Desired>,
    /// Every unit that was planned, refused ones included.
    pub units: BTreeMap<UnitKey, UnitReport>,
    /// For each refused unit: the generation of the same resource that stays active.
    pub previous_generations: BTreeMap<UnitKey, i64>,
    /// Sessions whose result is not written yet, also after their end.
    pub unfinished: BTreeSet<UnitKey>,
    /// What is known of the requests of each session that captures them.
    pub requests: BTreeMap<UnitKey, RequestsState>,
    /// Records so far, including units that have ended.
    pub counts: BTreeMap<UnitKey, UnitCount>,
    /// How many pods each policy selects, by the digest of its part; those that select none are left out.
    pub pods_selected: BTreeMap<String, u64>,
    /// Digests of the parts that are not for this node.
    pub skipped: BTreeSet<String>,
    /// Losses since the agent's start, by resource.
    pub losses: Vec<SourceLoss>,
    /// How often the operator has set the condition Ready to Unknown while this agent ran.
    pub status_overwritten: u64,
    /// Problems outside any unit, e.g. a state file that was refused.
    pub node_problems: Vec<(Source, Problem)>,
}

/// The status at `now`; transition times are taken over from `previous` conditions.
pub fn status(snapshot: &Snapshot, facts: &Facts, previous: &[Condition], now: Timestamp) -> NodeRuntimeStatus {
    let problems = problems(snapshot);
    let dry_runs = snapshot.desired.parts.iter().filter(|part| part.content.is_dry_run());
    let dry_runs: BTreeSet<&str> = dry_runs.map(|part| part.digest.as_str()).collect();
    let active_parts = snapshot
        .units
        .values()
        .filter(|unit| unit.part.as_deref().is_some_and(|part| !dry_runs.contains(part)))
        .filter(|unit| matches!(unit.state, UnitState::Active { .. }))
        .count();
    let ready = ready(snapshot, facts);
    NodeRuntimeStatus {
        observed_generation: Some(snapshot.generation),
        applied_profile: snapshot.desired.profile.clone(),
        parts_in_force: i32::try_from(active_parts).unwrap_or(i32::MAX),
        agent_version: Some(env!("CARGO_PKG_VERSION").into()),
        boot_id: Some(facts.boot_id.clone()),
        kernel: Some(kernel_facts(facts)),
        sessions: sessions(snapshot, now),
        losses: snapshot.losses.iter().take(LOSSES_MAX).cloned().collect(),
        refused: refused(snapshot),
        skipped: snapshot.skipped.iter().map(|digest| short_digest(digest)).take(SKIPPED_MAX).collect(),
        pods_selected: pods_selected(snapshot),
        conditions: merge(previous, &[ready], snapshot.generation, now),
        problems,
    }
}

/// The node is ready when the stack's own parts are active. A refused policy shows on the policy alone.
pub(super) fn ready(snapshot: &Snapshot, facts: &Facts) -> Finding {
    let missing = missing_capabilities(facts);
    let stack = snapshot.units.values().find_map(|unit| match &unit.state {
        UnitState::Refused(problem) if unit.source.kind == SourceKind::ObservabilityStack => Some(problem),
        _ => None,
    });
    let (status, reason, message) = match (stack, missing.first()) {
        (Some(problem), _) => (ConditionStatus::False, problem.reason(), problem.message()),
        (None, Some(capability)) => {
            let problem = Problem::MissingCapability { capability: capability.clone(), needed_for: "the agent".into() };
            (ConditionStatus::False, problem.reason(), problem.message())
        }
        (None, None) => (ConditionStatus::True, Reason::Ready, "everything that the stack asks for is active".into()),
    };
    Finding { r#type: ConditionType::Ready, status, reason, message }
}

/// Digests of all refused parts, also of those whose problem did not fit into the list.
fn refused(snapshot: &Snapshot) -> Vec<String> {
    let parts = snapshot.units.values().filter(|unit| matches!(unit.state, UnitState::Refused(_)));
    let short: BTreeSet<String> = parts.filter_map(|unit| unit.part.as_deref()).map(short_digest).collect();
    short.into_iter().take(REFUSED_MAX).collect()
}

/// Counts of the policies that are active.
fn pods_selected(snapshot: &Snapshot) -> Vec<PodsSelected> {
    let active = snapshot.units.values().filter(|unit| matches!(unit.state, UnitState::Active { .. }));
    let counts = active.filter_map(|unit| {
        let digest = unit.part.as_deref()?;
        let pods = i32::try_from(*snapshot.pods_selected.get(digest)?).unwrap_or(i32::MAX);
        Some(PodsSelected { part: short_digest(digest), pods })
    });
    counts.take(PODS_SELECTED_MAX).collect()
}

fn short_digest(digest: &str) -> String {
    digest.chars().take(16).collect()
}

/// Refusals first, then problems of the node, then notes on active units. Every resource gets one entry before any gets a
/// second.
fn problems(snapshot: &Snapshot) -> Vec<NodeProblem> {
    let of_units = |select: fn(&UnitState) -> &[Problem]| {
        snapshot.units.iter().flat_map(move |(key, unit)| {
            let previous = snapshot.previous_generations.get(key).copied();
            select(&unit.state).iter().map(move |problem| (&unit.source, problem, previous))
        })
    };
    let refusals = of_units(|state| match state {
        UnitState::Refused(problem) => std::slice::from_ref(problem),
        UnitState::Active { .. } => &[],
    });
    let notes = of_units(|state| match state {
        UnitState::Active { notes } => notes,
        UnitState::Refused(_) => &[],
    });
    let of_node = snapshot.node_problems.iter().map(|(source, problem)| (source, problem, None));
    let mut named = BTreeSet::new();
    let (first, more): (Vec<_>, Vec<_>) =
        refusals.chain(of_node).chain(notes).partition(|(source, ..)| named.insert(source.to_string()));
    let line = |(source, problem, previous): (&Source, &Problem, Option<i64>)| {
        let message = previous.map_or_else(|| problem.message(), |generation| problem.message_beside(generation));
        NodeProblem::new(source.clone(), problem.reason(), problem.field(), message)
    };
    first.into_iter().chain(more).take(PROBLEMS_MAX).map(line).collect()
}

fn sessions(snapshot: &Snapshot, now: Timestamp) -> Vec<SessionStatus> {
    let line = |name: &str, key: &UnitKey, expires_at: Option<Timestamp>| {
        let count = snapshot.counts.get(key).copied().unwrap_or_default();
        let has_ended = expires_at.is_some_and(|end| end <= now) && !snapshot.unfinished.contains(key);
        let state = match snapshot.units.get(key).map(|unit| &unit.state) {
            Some(UnitState::Refused(Problem::SessionExpired { .. })) => SessionState::Expired,
            Some(UnitState::Refused(_)) => SessionState::Refused,
            _ if has_ended => SessionState::Completed,
            _ => SessionState::Running,
        };
        let requests = snapshot.requests.get(key).cloned();
        let (records, lost) = (signed(count.records), signed(count.lost));
        SessionStatus { name: name.to_owned(), expires_at, state, records, lost, requests }
    };
    let sessions = snapshot.desired.sessions.iter();
    let sessions = sessions.map(|session| line(&session.name, &UnitKey::of_session(session), Some(session.expires_at)));
    let standing = snapshot.desired.application.standing.iter();
    let standing = standing.map(|standing| line(STANDING_PROFILE, &UnitKey::of_standing(standing), None));
    standing.chain(sessions).take(MAX_SESSIONS).collect()
}

fn kernel_facts(facts: &Facts) -> KernelFacts {
    let cgroup = match facts.cgroup {
        CgroupMode::V2 => "v2",
        CgroupMode::Hybrid => "hybrid",
        CgroupMode::V1 => "v1",
    };
    let features = [("btf", facts.btf), (facts.packet_attach.name(), true), ("perf_event", !facts.perf_refused)];
    KernelFacts {
        release: facts.release_text.clone(),
        cgroup: cgroup.into(),
        missing_capabilities: missing_capabilities(facts),
        features: features.iter().filter(|(_, exists)| *exists).map(|(name, _)| (*name).into()).collect(),
    }
}

fn missing_capabilities(facts: &Facts) -> Vec<String> {
    CAPABILITIES.iter().filter(|name| !facts.has(name)).map(|name| (*name).into()).collect()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
