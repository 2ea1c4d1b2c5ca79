//! What the agent says of its node, as a pure function of what is in force. Healthy is short.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use trilobite_crds::{
    condition::{Condition, ConditionStatus, ConditionType, Finding, merge},
    node::{
        Desired, KernelFacts, NodeProblem, NodeRuntimeStatus, Session, SessionState, SessionStatus, Source, SourceKind,
        SourceLoss,
    },
    reason::Reason,
};

use super::Problem;
use crate::{
    kernel::{CgroupMode, Facts},
    layers::{UnitCount, UnitKey, UnitState},
};

/// Most problems, refused parts, losses that a status lists: the schema's bounds.
const PROBLEMS_MAX: usize = 20;
const REFUSED_MAX: usize = 512;
const LOSSES_MAX: usize = 64;
/// What the agent needs on every node, whatever is wanted.
const CAPABILITIES: [&str; 6] =
    ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG"];

/// One unit and how it fares.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitReport {
    /// Who asked.
    pub source: Source,
    /// How it fares.
    pub state: UnitState,
    /// The part's digest; none for a session.
    pub part: Option<String>,
}

/// All that a status is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The NodeRuntime that `desired` came with; none before there is one, or when it is gone.
    pub uid: Option<String>,
    /// Generation of the NodeRuntime that `desired` came with.
    pub generation: i64,
    /// What was asked.
    pub desired: Arc<Desired>,
    /// Every unit that was planned, refused ones included.
    pub units: BTreeMap<UnitKey, UnitReport>,
    /// By units that are refused: the generation of the same resource that stays in force.
    pub standing: BTreeMap<UnitKey, i64>,
    /// Sessions that are not over yet, whether or not their end has come: their results are still being made.
    pub unfinished: BTreeSet<UnitKey>,
    /// Records so far, units that have ended included.
    pub counts: BTreeMap<UnitKey, UnitCount>,
    /// Losses since the agent's start, by whose they are.
    pub losses: Vec<SourceLoss>,
    /// What went wrong outside any unit, as a last good state that was refused.
    pub node_problems: Vec<(Source, Problem)>,
}

/// The status at `now`; transition times come from the conditions that stand.
pub fn status(snapshot: &Snapshot, facts: &Facts, standing: &[Condition], now: Timestamp) -> NodeRuntimeStatus {
    let problems = problems(snapshot);
    let in_force = snapshot
        .units
        .values()
        .filter(|unit| unit.part.is_some() && matches!(unit.state, UnitState::InForce { .. }))
        .count();
    let ready = ready(snapshot, facts);
    NodeRuntimeStatus {
        observed_generation: Some(snapshot.generation),
        applied_profile: snapshot.desired.profile.clone(),
        parts_in_force: i32::try_from(in_force).unwrap_or(i32::MAX),
        agent_version: Some(env!("CARGO_PKG_VERSION").into()),
        boot_id: Some(facts.boot_id.clone()),
        kernel: Some(kernel_facts(facts)),
        sessions: sessions(snapshot, now),
        losses: snapshot.losses.iter().take(LOSSES_MAX).cloned().collect(),
        refused: refused(snapshot),
        conditions: merge(standing, &[ready], snapshot.generation, now),
        problems,
    }
}

/// The node is ready when what the stack itself asks is in force; a user's bad policy is the policy's own matter.
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
        (None, None) => (ConditionStatus::True, Reason::Ready, "what the stack asks is in force".into()),
    };
    Finding { r#type: ConditionType::Ready, status, reason, message }
}

/// Every part that is refused, with or without room for its reason below.
fn refused(snapshot: &Snapshot) -> Vec<String> {
    let parts = snapshot.units.values().filter(|unit| matches!(unit.state, UnitState::Refused(_)));
    let short: BTreeSet<String> =
        parts.filter_map(|unit| unit.part.as_deref()).map(|digest| digest.chars().take(16).collect()).collect();
    short.into_iter().take(REFUSED_MAX).collect()
}

/// What is refused comes before what is wrong with the node, and both before what is not perfect. Each resource has one
/// problem listed before any has a second.
fn problems(snapshot: &Snapshot) -> Vec<NodeProblem> {
    let of_units = |wanted: fn(&UnitState) -> &[Problem]| {
        snapshot.units.iter().flat_map(move |(key, unit)| {
            let standing = snapshot.standing.get(key).copied();
            wanted(&unit.state).iter().map(move |problem| (&unit.source, problem, standing))
        })
    };
    let refusals = of_units(|state| match state {
        UnitState::Refused(problem) => std::slice::from_ref(problem),
        UnitState::InForce { .. } => &[],
    });
    let notes = of_units(|state| match state {
        UnitState::InForce { notes } => notes,
        UnitState::Refused(_) => &[],
    });
    let of_node = snapshot.node_problems.iter().map(|(source, problem)| (source, problem, None));
    let mut named = BTreeSet::new();
    let (first, more): (Vec<_>, Vec<_>) =
        refusals.chain(of_node).chain(notes).partition(|(source, ..)| named.insert(source.to_string()));
    let line = |(source, problem, standing): (&Source, &Problem, Option<i64>)| {
        let message = standing.map_or_else(|| problem.message(), |generation| problem.beside(generation));
        NodeProblem::new(source.clone(), problem.reason(), problem.field(), message)
    };
    first.into_iter().chain(more).take(PROBLEMS_MAX).map(line).collect()
}

fn sessions(snapshot: &Snapshot, now: Timestamp) -> Vec<SessionStatus> {
    let line = |session: &Session| {
        let key = UnitKey::of_session(session);
        let count = snapshot.counts.get(&key).copied().unwrap_or_default();
        let state = match snapshot.units.get(&key).map(|unit| &unit.state) {
            Some(UnitState::Refused(Problem::SessionExpired { .. })) => SessionState::Expired,
            Some(UnitState::Refused(_)) => SessionState::Refused,
            _ if session.expires_at <= now && !snapshot.unfinished.contains(&key) => SessionState::Completed,
            _ => SessionState::Running,
        };
        SessionStatus {
            name: session.name.clone(),
            expires_at: Some(session.expires_at),
            state,
            records: signed(count.records),
            lost: signed(count.lost),
        }
    };
    snapshot.desired.sessions.iter().map(line).collect()
}

fn kernel_facts(facts: &Facts) -> KernelFacts {
    let cgroup = match facts.cgroup {
        CgroupMode::V2 => "v2",
        CgroupMode::Hybrid => "hybrid",
        CgroupMode::V1 => "v1",
    };
    let features = [("btf", facts.btf), ("perf_event", !facts.perf_refused)];
    KernelFacts {
        release: facts.release_text.clone(),
        cgroup: cgroup.into(),
        missing_capabilities: missing_capabilities(facts),
        features: features.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).into()).collect(),
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
