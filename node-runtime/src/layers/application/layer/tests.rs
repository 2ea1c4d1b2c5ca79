//! Units of the application layer on a machine that would allow them; nothing is loaded.

use std::{path::Path, sync::Arc};

use trilobite_crds::node::{CpuSampling, PodScope, RequestsSession, Session, SessionContent, Source, SourceKind};

use super::*;
use crate::{
    loss::Ledger,
    plan::{plan, tests::machine},
};

fn application(folder: &Path) -> Application {
    let (facts, ledger) = (Arc::new(machine()), Ledger::default());
    let context = LayerContext {
        node_name: "reef".into(),
        facts: facts.clone(),
        ledger: ledger.clone(),
        state_dir: folder.join("state"),
    };
    let worker = WorkerProgram::find(&folder.join("trilobite-worker"));
    Application::new(context, IdentityService::new(facts, ledger, true), worker)
}

fn profile(name: &str, memory_budget_bytes: u64, end: Timestamp) -> Session {
    let requests = RequestsSession { retain_minutes: 60, retain_after_end_minutes: 10, ..RequestsSession::default() };
    let content = AppProfileSession {
        pods: PodScope::default(),
        memory_budget_bytes,
        cpu: Some(CpuSampling { frequency_hz: 49 }),
        requests: Some(requests),
    };
    Session {
        name: name.into(),
        source: Source {
            kind: SourceKind::AppProfile,
            namespace: Some("shop".into()),
            name: name.into(),
            generation: 1,
        },
        expires_at: end,
        content: SessionContent::AppProfile(content),
    }
}

fn desired(sessions: Vec<Session>) -> Desired {
    Desired { sessions, ..Desired::default() }
}

#[tokio::test]
async fn profiles_are_refused_without_the_binary_of_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let session = profile("cart", 32 << 20, Timestamp::MAX);
    let states = application(folder.path())
        .apply(&plan(&desired(vec![session.clone()]), &machine(), Timestamp::UNIX_EPOCH))
        .await;
    let UnitState::Refused(problem) = &states[&UnitKey::of_session(&session)] else { panic!("{states:?}") };
    assert!(problem.message().contains("trilobite-worker: No such file"), "{}", problem.message());
}

#[tokio::test]
async fn profile_above_the_memory_of_the_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let session = profile("cart", 65 << 20, Timestamp::MAX);
    let mut desired = desired(vec![session.clone()]);
    desired.application.node_memory_budget_bytes = Some(64 << 20);
    let states = application(folder.path()).apply(&plan(&desired, &machine(), Timestamp::UNIX_EPOCH)).await;
    let UnitState::Refused(problem) = &states[&UnitKey::of_session(&session)] else { panic!("{states:?}") };
    assert_eq!(problem.reason().as_str(), "NodeBudgetExceeded");
}

#[tokio::test]
async fn time_without_an_agent_is_noted_until_its_rows_would_have_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut application = application(folder.path());
    let at = |minutes: i64| Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    let (recent, old) = (profile("cart", 32 << 20, at(5)), profile("till", 32 << 20, at(15)));
    let desired = desired(vec![recent.clone(), old.clone()]);
    application.take_over(&desired, at(20), Timestamp::now());
    application.apply(&plan(&desired, &machine(), Timestamp::now())).await;
    let states = application.states();
    let UnitState::Active { notes } = &states[&UnitKey::of_session(&recent)] else { panic!("{states:?}") };
    let message = notes[0].message();
    assert!(message.starts_with("no agent ran on this node from ") && message.contains(" to "), "{message}");
    assert!(!states.contains_key(&UnitKey::of_session(&old)), "its rows were kept for 10 minutes only");
}

#[test]
fn unit_is_refused_if_one_part_is_and_has_the_notes_of_both() {
    let problem = |detail: &str| Problem::WorkerFailed { detail: detail.into() };
    let active = |detail: &str| UnitState::Active { notes: vec![problem(detail)] };
    let refused = UnitState::Refused(problem("gone"));
    assert_eq!(worse(active("a"), refused.clone()), refused);
    assert_eq!(worse(refused.clone(), active("a")), refused);
    assert_eq!(worse(active("a"), active("b")), UnitState::Active { notes: vec![problem("a"), problem("b")] });
    assert_eq!(worse(active("a"), active("a")), active("a"));
}

#[test]
fn profiles_without_an_end_are_admitted_first() {
    let unit = |end| Unit {
        source: profile("cart", 1, Timestamp::MAX).source,
        expires_at: end,
        content: profile("cart", 1, Timestamp::MAX).content.app_profile().unwrap(),
    };
    let key = |name: &str| UnitKey { kind: SourceKind::AppProfile, name: name.into(), version: "1".into() };
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let planned = [(key("a"), unit(at(20))), (key("b"), unit(at(10))), (key("c"), unit(None))].into();
    let names: Vec<&str> = in_order(&planned).into_iter().map(|(key, _)| &*key.name).collect();
    assert_eq!(names, ["c", "b", "a"]);
}
