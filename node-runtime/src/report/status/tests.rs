//! The node's status from made-up snapshots.

use trilobite_crds::{
    condition::find,
    node::{AppProfileSession, CpuProfileSession, PodScope, RequestsSession, Session, SessionContent},
};

use super::*;

fn facts() -> Facts {
    Facts { capabilities: CAPABILITIES.map(String::from).into(), ..Facts::default() }
}

fn snapshot(kind: SourceKind, state: UnitState) -> Snapshot {
    let source = Source { kind, namespace: None, name: "it".into(), generation: 3 };
    let key = UnitKey { kind, name: "it".into(), version: "1".into() };
    let part = Some("0123456789abcdef0123".into());
    Snapshot { generation: 4, units: [(key, UnitReport { source, state, part })].into(), ..Snapshot::default() }
}

fn refused() -> UnitState {
    UnitState::Refused(Problem::NoSuchTracepoint { name: "sched/nope".into(), field: "spec.tracepoints[0]".into() })
}

fn ready_of(status: &NodeRuntimeStatus) -> &Condition {
    find(&status.conditions, ConditionType::Ready).unwrap()
}

#[test]
fn node_stays_ready_beside_a_refused_policy() {
    let status = status(&snapshot(SourceKind::TracingPolicy, refused()), &facts(), &[], Timestamp::UNIX_EPOCH);
    assert_eq!(ready_of(&status).status, ConditionStatus::True);
    assert_eq!(
        (status.problems[0].reason.as_str(), status.problems[0].field.as_str()),
        ("NoSuchTracepoint", "spec.tracepoints[0]")
    );
    assert_eq!((status.parts_in_force, status.problems[0].source.generation), (0, 3));
}

#[test]
fn refused_version_names_the_active_one_and_the_next_step() {
    let mut snapshot = snapshot(SourceKind::TracingPolicy, refused());
    let key = snapshot.units.keys().next().unwrap().clone();
    snapshot.previous_generations.insert(key, 2);
    let status = status(&snapshot, &facts(), &[], Timestamp::UNIX_EPOCH);
    let message = &status.problems[0].message;
    assert!(message.starts_with("generation 2 stays active: spec.tracepoints[0]: tracepoint"), "{message}");
    assert!(message.ends_with("see docs/why-is-my-policy-not-ready.md"), "{message}");
}

#[test]
fn refused_part_of_the_stack_makes_the_node_not_ready() {
    let status = status(&snapshot(SourceKind::ObservabilityStack, refused()), &facts(), &[], Timestamp::UNIX_EPOCH);
    assert_eq!(ready_of(&status).reason, "NoSuchTracepoint");
}

#[test]
fn missing_capability_is_named() {
    let mut facts = facts();
    facts.capabilities.remove("CAP_PERFMON");
    let status = status(&Snapshot::default(), &facts, &[], Timestamp::UNIX_EPOCH);
    assert_eq!(ready_of(&status).status, ConditionStatus::False);
    assert!(ready_of(&status).message.contains("CAP_PERFMON"));
    assert_eq!(status.kernel.unwrap().missing_capabilities, ["CAP_PERFMON"]);
}

#[test]
fn healthy_node_lists_no_problem() {
    let state = UnitState::Active { notes: Vec::new() };
    let status = status(&snapshot(SourceKind::TracingPolicy, state), &facts(), &[], Timestamp::UNIX_EPOCH);
    assert_eq!((status.parts_in_force, status.problems.len()), (1, 0));
}

/// `count` policies `p00`, `p01`, ... in the same state.
fn policies(count: usize, state: &UnitState) -> Snapshot {
    let mut all = Snapshot::default();
    for number in 0..count {
        let name = format!("p{number:02}");
        let source = Source { kind: SourceKind::TracingPolicy, namespace: None, name: name.clone(), generation: 1 };
        let key = UnitKey { kind: SourceKind::TracingPolicy, name: name.into(), version: "1".into() };
        let part = Some(format!("{number:016}{}", "f".repeat(48)).into());
        all.units.insert(key, UnitReport { source, state: state.clone(), part });
    }
    all
}

fn names(status: &NodeRuntimeStatus) -> Vec<&str> {
    status.problems.iter().map(|problem| problem.source.name.as_str()).collect()
}

#[test]
fn refused_policy_beyond_the_problem_limit_is_still_listed() {
    let status = status(&policies(25, &refused()), &facts(), &[], Timestamp::UNIX_EPOCH);
    assert_eq!((status.problems.len(), status.refused.len(), status.parts_in_force), (20, 25, 0));
    assert_eq!(status.refused[24], "0000000000000024");
}

#[test]
fn many_notes_do_not_displace_refusals() {
    let note = Problem::HostNetworkPod { pod: "shop/till".into() };
    let mut snapshot = policies(3, &UnitState::Active { notes: vec![note; 30] });
    snapshot.units.extend(policies(15, &refused()).units.into_iter().skip(3));
    snapshot.node_problems = vec![(crate::loss::stack_source(), Problem::LastGoodRefused { detail: "cut".into() })];
    let status = status(&snapshot, &facts(), &[], Timestamp::UNIX_EPOCH);
    let names = names(&status);
    assert_eq!((names.len(), names[0], names[11], names[12]), (20, "p03", "p14", "default"));
    assert_eq!(names[13..17], ["p00", "p01", "p02", "p00"]);
}

#[test]
fn losses_are_listed_up_to_the_limit() {
    let loss = |number: usize| SourceLoss {
        source: policies(number + 1, &refused()).units.pop_last().unwrap().1.source,
        place: "policy_ring".into(),
        kind: String::new(),
        count: 1,
    };
    let snapshot = Snapshot { losses: (0..70).map(loss).collect(), ..Snapshot::default() };
    assert_eq!(status(&snapshot, &facts(), &[], Timestamp::UNIX_EPOCH).losses.len(), 64);
}

#[test]
fn session_completes_when_its_result_is_written() {
    let mut snapshot = profile(Some(UnitState::Active { notes: Vec::new() }));
    snapshot.unfinished = snapshot.units.keys().cloned().collect();
    let state = |snapshot: &Snapshot, second| {
        status(snapshot, &facts(), &[], Timestamp::from_second(second).unwrap()).sessions[0].state
    };
    assert_eq!(state(&snapshot, 130), SessionState::Running);
    snapshot.unfinished.clear();
    assert_eq!(state(&snapshot, 130), SessionState::Completed);
}

/// A profile that ends at 100; without a state it is no longer planned.
fn profile(state: Option<UnitState>) -> Snapshot {
    let source =
        Source { kind: SourceKind::AppProfile, namespace: Some("shop".into()), name: "hot".into(), generation: 1 };
    let content = CpuProfileSession { pods: PodScope::default(), frequency_hz: 49, memory_budget_bytes: 1 << 24 };
    let expires_at = Timestamp::from_second(100).unwrap();
    let session = Session {
        name: "hot".into(),
        source: source.clone(),
        expires_at,
        content: SessionContent::CpuProfile(content),
    };
    let key = UnitKey::of_session(&session);
    let units = state.map(|state| (key, UnitReport { source, state, part: None }));
    let desired = Arc::new(Desired { sessions: vec![session], ..Desired::default() });
    Snapshot { desired, units: units.into_iter().collect(), ..Snapshot::default() }
}

#[test]
fn session_that_never_ran_is_expired() {
    let end = Timestamp::from_second(100).unwrap();
    let late = UnitState::Refused(Problem::SessionExpired { end });
    let running = UnitState::Active { notes: Vec::new() };
    let state = |state, second| {
        let status = status(&profile(state), &facts(), &[], Timestamp::from_second(second).unwrap());
        assert_eq!((status.sessions[0].expires_at, status.parts_in_force), (Some(end), 0));
        status.sessions[0].state
    };
    assert_eq!(state(Some(running), 99), SessionState::Running);
    assert_eq!(state(None, 100), SessionState::Completed);
    assert_eq!(state(Some(late), 100), SessionState::Expired);
    assert_eq!(state(Some(refused()), 100), SessionState::Refused);
}

#[test]
fn requests_are_reported_with_their_session() {
    let mut snapshot = profile(Some(UnitState::Active { notes: Vec::new() }));
    let key = snapshot.units.keys().next().unwrap().clone();
    let requests = RequestsState { connections: 3, lost_ring: 1, ..RequestsState::default() };
    snapshot.requests.insert(key, requests.clone());
    let status = status(&snapshot, &facts(), &[], Timestamp::UNIX_EPOCH);
    assert_eq!(status.sessions[0].requests, Some(requests));
}

#[test]
fn standing_profile_is_a_session_without_an_end() {
    let standing = AppProfileSession {
        pods: PodScope::default(),
        memory_budget_bytes: 1 << 24,
        cpu: None,
        requests: Some(RequestsSession::default()),
    };
    let key = UnitKey::of_standing(&standing);
    let mut desired = Desired::default();
    desired.application.standing = Some(standing);
    let counts = [(key.clone(), UnitCount { records: 7, lost: 2 })].into();
    let requests = [(key, RequestsState { pods: 4, ..RequestsState::default() })].into();
    let snapshot = Snapshot { desired: Arc::new(desired), counts, requests, ..Snapshot::default() };
    let status = status(&snapshot, &facts(), &[], Timestamp::MAX);
    let [session] = status.sessions.as_slice() else { panic!("{:?}", status.sessions) };
    assert_eq!((session.name.as_str(), session.state), ("observabilitystack.default", SessionState::Running));
    assert_eq!((session.records, session.lost, session.expires_at), (7, 2, None));
    assert_eq!(session.requests.as_ref().map(|requests| requests.pods), Some(4));
}
