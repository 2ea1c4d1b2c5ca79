//! Of sessions and troubles, on a machine whose kernel refuses every unit: nothing is loaded here.

use std::sync::Arc;

use trilobite_crds::node::{CpuProfileSession, PodScope, SessionContent};

use super::*;
use crate::{
    identity::Identity,
    kernel::Facts,
    layers::{
        Context,
        application::Application,
        network::Network,
        security::{Security, bus::EventBus},
    },
};

fn a_machine_without_btf() -> Runtime {
    let (facts, ledger) = (Arc::new(Facts::default()), Ledger::default());
    let state_dir = std::env::temp_dir().join("trilobite-nothing-is-kept-here");
    let context = Context { node_name: "reef".into(), facts: facts.clone(), ledger: ledger.clone(), state_dir };
    let identity = Identity::new(facts.clone(), ledger.clone(), true);
    let security = Security::new(context.clone(), identity.clone(), EventBus::new(ledger.clone()));
    let network = Network::new(context.clone(), identity.clone(), Arc::default());
    let application = Application::new(context, identity);
    Runtime::new(Layers::new(facts, security, network, application), ledger)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn a_profile_that_ends(end: Timestamp) -> Desired {
    let source =
        Source { kind: SourceKind::AppProfile, namespace: Some("shop".into()), name: "hot".into(), generation: 1 };
    let content = CpuProfileSession { pods: PodScope::default(), frequency_hz: 49, memory_budget_bytes: 1 << 24 };
    let content = SessionContent::CpuProfile(content);
    Desired { sessions: vec![Session { name: "hot".into(), source, expires_at: end, content }], ..Desired::default() }
}

async fn taken(runtime: &mut Runtime, desired: Desired, now: Timestamp) {
    runtime.take(Update { desired: Arc::new(desired), generation: 1, uid: None }, now).await;
}

fn refusal(runtime: &mut Runtime, now: Timestamp) -> Option<Problem> {
    match runtime.snapshot(now).units.into_values().next()?.state {
        UnitState::Refused(problem) => Some(problem),
        UnitState::InForce { .. } => None,
    }
}

#[tokio::test]
async fn a_session_whose_end_had_come_before_it_is_told_as_expired_and_not_kept_for_the_next_agent() {
    let mut runtime = a_machine_without_btf();
    taken(&mut runtime, a_profile_that_ends(at(100)), at(101)).await;
    assert_eq!(refusal(&mut runtime, at(101)), Some(Problem::SessionExpired { end: at(100) }));
    assert!(runtime.to_keep().desired.sessions.is_empty());
}

#[tokio::test]
async fn what_a_session_was_refused_for_stands_after_its_end() {
    let mut runtime = a_machine_without_btf();
    taken(&mut runtime, a_profile_that_ends(at(100)), at(50)).await;
    assert_eq!(runtime.to_keep().desired.sessions.len(), 1);
    let before = refusal(&mut runtime, at(50)).unwrap();
    runtime.reconcile(at(100)).await;
    assert_eq!(refusal(&mut runtime, at(150)), Some(before));
}

#[tokio::test]
async fn a_session_that_an_agent_before_saw_to_its_end_has_not_expired_and_one_that_it_did_not_has() {
    let mut runtime = a_machine_without_btf();
    let desired = a_profile_that_ends(at(100));
    runtime.follow_on(&desired, at(110), at(200));
    taken(&mut runtime, desired, at(200)).await;
    assert_eq!(refusal(&mut runtime, at(200)), None);

    let mut runtime = a_machine_without_btf();
    let desired = a_profile_that_ends(at(100));
    runtime.follow_on(&desired, at(90), at(200));
    taken(&mut runtime, desired, at(200)).await;
    assert!(matches!(refusal(&mut runtime, at(200)), Some(Problem::SessionExpired { .. })));
}

#[test]
fn a_trouble_that_is_over_is_told_no_more() {
    let mut runtime = a_machine_without_btf();
    let problem = Problem::LastGoodRefused { detail: "cut short".into() };
    runtime.trouble(Matter::LastGood, Some(problem.clone()));
    assert_eq!(runtime.snapshot(at(0)).node_problems, [(stack(), problem)]);
    runtime.trouble(Matter::LastGood, None);
    assert!(runtime.snapshot(at(0)).node_problems.is_empty());
}

#[tokio::test]
async fn nothing_is_told_of_a_node_that_nothing_is_wanted_of() {
    let mut runtime = a_machine_without_btf();
    let update = Update { desired: Arc::new(a_profile_that_ends(at(100))), generation: 1, uid: Some("u".into()) };
    runtime.take(update, at(50)).await;
    runtime.end(Duration::ZERO).await;
    let snapshot = runtime.snapshot(at(60));
    assert_eq!((snapshot.uid, snapshot.units.len(), snapshot.generation), (None, 0, 0));
}

fn a_policy(generation: i64) -> ProfilePartSpec {
    let source = Source { kind: SourceKind::TracingPolicy, namespace: None, name: "shell".into(), generation };
    let ring_bytes = 4096 << generation;
    let content = serde_json::json!({"tracepoints": {"pods": {}, "ringBytes": ring_bytes, "hooks": []}});
    ProfilePartSpec { source, digest: String::new(), content: serde_json::from_value(content).unwrap() }
}

fn policy(generation: i64) -> Desired {
    Desired { parts: vec![a_policy(generation)], ..Desired::default() }
}

#[tokio::test]
async fn what_stays_in_force_beside_a_refused_version_is_told_and_kept_until_nothing_is_refused() {
    let mut runtime = a_machine_without_btf();
    taken(&mut runtime, policy(1), at(10)).await;
    // Nothing can be in force on this machine, so it is said to be.
    let before = runtime.units.values_mut().next().unwrap();
    before.state = UnitState::InForce { notes: Vec::new() };
    for generation in [2, 3, 3] {
        taken(&mut runtime, policy(generation), at(20)).await;
        assert_eq!(runtime.to_keep().standing, [a_policy(1)]);
        assert_eq!(runtime.snapshot(at(20)).standing, [(UnitKey::of_part(&a_policy(generation)), 1)].into());
        assert_eq!(runtime.to_keep().before().unwrap().parts, [a_policy(1)]);
    }
    taken(&mut runtime, Desired::default(), at(30)).await;
    taken(&mut runtime, policy(4), at(40)).await;
    assert_eq!(runtime.to_keep().standing, []);
}
