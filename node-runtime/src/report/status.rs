//! What the agent says of its node, as a pure function of what is in force. Healthy is short.

use std::{collections::BTreeMap, sync::Arc};

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

/// Most problems that a status lists.
const PROBLEMS_MAX: usize = 20;
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
}

/// All that a status is made of.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Generation of the NodeRuntime that `desired` came with.
    pub generation: i64,
    /// What was asked.
    pub desired: Arc<Desired>,
    /// Every unit that was planned, refused ones included.
    pub units: BTreeMap<UnitKey, UnitReport>,
    /// Records so far, units that have ended included.
    pub counts: BTreeMap<UnitKey, UnitCount>,
    /// Losses of the node: source, place, count.
    pub losses: Vec<(Source, &'static str, u64)>,
    /// What went wrong outside any unit, as a last good state that was refused.
    pub node_problems: Vec<(Source, Problem)>,
}

/// The status at `now`; transition times come from the conditions that stand.
pub fn status(snapshot: &Snapshot, facts: &Facts, standing: &[Condition], now: Timestamp) -> NodeRuntimeStatus {
    let problems = problems(snapshot);
    let in_force = snapshot.units.iter().filter(|(_, unit)| matches!(unit.state, UnitState::InForce { .. })).count();
    let ready = ready(snapshot, facts);
    NodeRuntimeStatus {
        observed_generation: Some(snapshot.generation),
        applied_profile: snapshot.desired.profile.clone(),
        parts_in_force: i32::try_from(in_force).unwrap_or(i32::MAX),
        agent_version: Some(env!("CARGO_PKG_VERSION").into()),
        boot_id: Some(facts.boot_id.clone()),
        kernel: Some(kernel_facts(facts)),
        sessions: sessions(snapshot, now),
        losses: losses(snapshot),
        refused: Vec::new(),
        conditions: merge(standing, &[ready], snapshot.generation, now),
        problems,
    }
}

/// The node is ready when what the stack itself asks is in force; a user's bad policy is the policy's own matter.
fn ready(snapshot: &Snapshot, facts: &Facts) -> Finding {
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

fn problems(snapshot: &Snapshot) -> Vec<NodeProblem> {
    let of_units = snapshot.units.values().flat_map(|unit| match &unit.state {
        UnitState::Refused(problem) => vec![(&unit.source, problem)],
        UnitState::InForce { notes } => notes.iter().map(|note| (&unit.source, note)).collect(),
    });
    of_units
        .chain(snapshot.node_problems.iter().map(|(source, problem)| (source, problem)))
        .take(PROBLEMS_MAX)
        .map(|(source, problem)| NodeProblem {
            source: source.clone(),
            reason: problem.reason().as_str().into(),
            field: problem.field().into(),
            message: problem.message(),
        })
        .collect()
}

fn sessions(snapshot: &Snapshot, now: Timestamp) -> Vec<SessionStatus> {
    let line = |session: &Session| {
        let key = UnitKey::of_session(session);
        let count = snapshot.counts.get(&key).copied().unwrap_or_default();
        let state = match snapshot.units.get(&key).map(|unit| &unit.state) {
            Some(UnitState::Refused(_)) => SessionState::Refused,
            _ if session.expires_at <= now => SessionState::Completed,
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

fn losses(snapshot: &Snapshot) -> Vec<SourceLoss> {
    let entry = |(source, place, count): &(Source, &str, u64)| SourceLoss {
        source: source.clone(),
        place: (*place).into(),
        of: String::new(),
        count: signed(*count),
    };
    snapshot.losses.iter().map(entry).take(PROBLEMS_MAX).collect()
}

fn kernel_facts(facts: &Facts) -> KernelFacts {
    let cgroup = match facts.cgroup {
        CgroupMode::V2 => "v2",
        CgroupMode::Hybrid => "hybrid",
        CgroupMode::V1 => "v1",
    };
    let features = [("btf", facts.btf), ("perf_event", facts.perf_paranoid <= 2 || facts.has("CAP_SYS_ADMIN"))];
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
mod tests {
    use trilobite_crds::condition::find;

    use super::*;

    fn facts() -> Facts {
        Facts { capabilities: CAPABILITIES.map(String::from).into(), ..Facts::default() }
    }

    fn snapshot(kind: SourceKind, state: UnitState) -> Snapshot {
        let source = Source { kind, namespace: None, name: "it".into(), generation: 3 };
        let key = UnitKey { kind, name: "it".into(), version: "1".into() };
        Snapshot { generation: 4, units: [(key, UnitReport { source, state })].into(), ..Snapshot::default() }
    }

    fn refused() -> UnitState {
        UnitState::Refused(Problem::NoSuchTracepoint { name: "sched/nope".into(), field: "spec.tracepoints[0]".into() })
    }

    fn ready_of(status: &NodeRuntimeStatus) -> &Condition {
        find(&status.conditions, ConditionType::Ready).unwrap()
    }

    #[test]
    fn a_bad_policy_is_a_problem_of_its_own_and_the_node_stays_ready() {
        let status = status(&snapshot(SourceKind::TracingPolicy, refused()), &facts(), &[], Timestamp::UNIX_EPOCH);
        assert_eq!(ready_of(&status).status, ConditionStatus::True);
        assert_eq!(
            (status.problems[0].reason.as_str(), status.problems[0].field.as_str()),
            ("NoSuchTracepoint", "spec.tracepoints[0]")
        );
        assert_eq!((status.parts_in_force, status.problems[0].source.generation), (0, 3));
    }

    #[test]
    fn what_the_stack_asks_and_does_not_get_makes_the_node_not_ready() {
        let status = status(&snapshot(SourceKind::ObservabilityStack, refused()), &facts(), &[], Timestamp::UNIX_EPOCH);
        assert_eq!(ready_of(&status).reason, "NoSuchTracepoint");
    }

    #[test]
    fn a_capability_that_the_agent_lacks_is_named() {
        let mut facts = facts();
        facts.capabilities.remove("CAP_PERFMON");
        let status = status(&Snapshot::default(), &facts, &[], Timestamp::UNIX_EPOCH);
        assert_eq!(ready_of(&status).status, ConditionStatus::False);
        assert!(ready_of(&status).message.contains("CAP_PERFMON"));
        assert_eq!(status.kernel.unwrap().missing_capabilities, ["CAP_PERFMON"]);
    }

    #[test]
    fn a_healthy_node_lists_no_problem() {
        let state = UnitState::InForce { notes: Vec::new() };
        let status = status(&snapshot(SourceKind::TracingPolicy, state), &facts(), &[], Timestamp::UNIX_EPOCH);
        assert_eq!((status.parts_in_force, status.problems.len()), (1, 0));
    }
}
