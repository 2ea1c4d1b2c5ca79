//! Sessions, node problems and previous versions, on a kernel that refuses every unit: nothing is loaded.

use std::sync::Arc;

use trilobite_crds::node::{CpuProfileSession, PartContent, PodScope, PolicyPart, SessionContent};

use super::*;
use crate::{
    identity::IdentityService,
    kernel::Facts,
    layers::{
        LayerContext,
        application::Application,
        network::Network,
        security::{Security, event_bus::EventBus},
        worker::WorkerProgram,
    },
};

fn reconciler_without_btf() -> Reconciler {
    let (facts, ledger) = (Arc::new(Facts::default()), Ledger::default());
    let state_dir = std::env::temp_dir().join("trilobite-nothing-is-kept-here");
    let context = LayerContext { node_name: "reef".into(), facts: facts.clone(), ledger: ledger.clone(), state_dir };
    let identity = IdentityService::new(facts.clone(), ledger.clone(), true);
    let security = Security::new(context.clone(), identity.clone(), EventBus::new(ledger.clone()));
    let network = Network::new(context.clone(), identity.clone(), Arc::default());
    let application = Application::new(context, identity, WorkerProgram::find("/no-worker".as_ref()));
    Reconciler::new(Layers::new(facts, security, network, application), ledger)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn profile_ending(end: Timestamp) -> Desired {
    let source =
        Source { kind: SourceKind::AppProfile, namespace: Some("shop".into()), name: "hot".into(), generation: 1 };
    let content = CpuProfileSession { pods: PodScope::default(), frequency_hz: 49, memory_budget_bytes: 1 << 24 };
    let content = SessionContent::CpuProfile(content);
    Desired { sessions: vec![Session { name: "hot".into(), source, expires_at: end, content }], ..Desired::default() }
}

async fn apply(reconciler: &mut Reconciler, desired: Desired, now: Timestamp) {
    reconciler.apply(Update { desired: Arc::new(desired), generation: 1, uid: None }, now).await;
}

fn refusal(reconciler: &mut Reconciler, now: Timestamp) -> Option<Problem> {
    match reconciler.snapshot(now).units.into_values().next()?.state {
        UnitState::Refused(problem) => Some(problem),
        UnitState::Active { .. } => None,
    }
}

#[tokio::test]
async fn session_that_arrives_expired_is_refused_and_not_persisted() {
    let mut reconciler = reconciler_without_btf();
    apply(&mut reconciler, profile_ending(at(100)), at(101)).await;
    assert_eq!(refusal(&mut reconciler, at(101)), Some(Problem::SessionExpired { end: at(100) }));
    assert!(reconciler.state_to_persist().desired.sessions.is_empty());
}

#[tokio::test]
async fn refusal_of_a_session_stays_after_its_end() {
    let mut reconciler = reconciler_without_btf();
    apply(&mut reconciler, profile_ending(at(100)), at(50)).await;
    assert_eq!(reconciler.state_to_persist().desired.sessions.len(), 1);
    let before = refusal(&mut reconciler, at(50)).unwrap();
    reconciler.reconcile(at(100)).await;
    assert_eq!(refusal(&mut reconciler, at(150)), Some(before));
}

#[derive(Clone, Default)]
struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_refusal_is_logged_once_with_its_reason() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // With one subscriber alone, an event that another test's thread logs first is off for all threads.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut reconciler = reconciler_without_btf();
    let policy = a_policy(1);
    let desired = |end| Desired { parts: vec![policy.clone()], ..profile_ending(at(end)) };
    apply(&mut reconciler, desired(100), at(50)).await;
    apply(&mut reconciler, desired(100), at(60)).await;
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    let refused =
        |resource: &str| text.lines().filter(|line| line.contains(resource) && line.contains("reason=")).count();
    assert_eq!((refused("shell"), refused("hot")), (1, 1), "{text}");
}

#[tokio::test]
async fn policy_of_other_nodes_is_skipped_and_not_refused() {
    let policy = |name: &str, disk: &str| {
        let spec = serde_json::json!({"nodeSelector": {"matchLabels": {"disk": disk}}});
        let spec = serde_json::from_value(spec).unwrap();
        let content = PolicyPart { pods: Arc::default(), spec, ring_bytes: 1 << 20, dry_run: false };
        let source = Source { kind: SourceKind::TracingPolicy, namespace: None, name: name.into(), generation: 1 };
        ProfilePartSpec { source, digest: format!("digest-of-{name}"), content: PartContent::Policy(content) }
    };
    let parts = vec![policy("fast", "ssd"), policy("slow", "tape")];
    let node_labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    let mut reconciler = reconciler_without_btf();
    apply(&mut reconciler, Desired { parts: parts.clone(), node_labels, ..Desired::default() }, at(50)).await;
    let snapshot = reconciler.snapshot(at(51));
    assert_eq!(snapshot.units.values().map(|unit| unit.source.name.as_str()).collect::<Vec<_>>(), ["fast"]);
    assert_eq!(snapshot.skipped, BTreeSet::from(["digest-of-slow".to_owned()]));
    apply(&mut reconciler, Desired { parts, ..Desired::default() }, at(52)).await;
    assert_eq!(reconciler.snapshot(at(53)).skipped.len(), 2, "a node without labels");
}

#[tokio::test]
async fn session_finished_by_the_previous_agent_is_not_expired() {
    let mut reconciler = reconciler_without_btf();
    let desired = profile_ending(at(100));
    reconciler.take_over(&desired, at(110), at(200));
    apply(&mut reconciler, desired, at(200)).await;
    assert_eq!(refusal(&mut reconciler, at(200)), None);

    let mut reconciler = reconciler_without_btf();
    let desired = profile_ending(at(100));
    reconciler.take_over(&desired, at(90), at(200));
    apply(&mut reconciler, desired, at(200)).await;
    assert!(matches!(refusal(&mut reconciler, at(200)), Some(Problem::SessionExpired { .. })));
}

#[test]
fn cleared_node_problem_leaves_the_snapshot() {
    let mut reconciler = reconciler_without_btf();
    let problem = Problem::LastGoodRefused { detail: "cut short".into() };
    reconciler.set_node_problem(NodeProblemSource::LastKnownGood, Some(problem.clone()));
    assert_eq!(reconciler.snapshot(at(0)).node_problems, [(stack_source(), problem)]);
    reconciler.set_node_problem(NodeProblemSource::LastKnownGood, None);
    assert!(reconciler.snapshot(at(0)).node_problems.is_empty());
}

#[tokio::test]
async fn snapshot_is_empty_after_unload() {
    let mut reconciler = reconciler_without_btf();
    let update = Update { desired: Arc::new(profile_ending(at(100))), generation: 1, uid: Some("u".into()) };
    reconciler.apply(update, at(50)).await;
    reconciler.unload(Duration::ZERO).await;
    let snapshot = reconciler.snapshot(at(60));
    assert_eq!((snapshot.uid, snapshot.units.len(), snapshot.generation), (None, 0, 0));
}

fn a_policy(generation: i64) -> ProfilePartSpec {
    let source = Source { kind: SourceKind::TracingPolicy, namespace: None, name: "shell".into(), generation };
    let ring_bytes = 4096 << generation;
    let content = serde_json::json!({"policy": {"pods": {}, "ringBytes": ring_bytes, "spec": {}}});
    ProfilePartSpec { source, digest: String::new(), content: serde_json::from_value(content).unwrap() }
}

fn policy(generation: i64) -> Desired {
    Desired { parts: vec![a_policy(generation)], ..Desired::default() }
}

#[tokio::test]
async fn previous_version_is_reported_until_nothing_is_refused() {
    let mut reconciler = reconciler_without_btf();
    apply(&mut reconciler, policy(1), at(10)).await;
    // This kernel refuses every unit, so the test marks the first version as active.
    let before = reconciler.units.values_mut().next().unwrap();
    before.state = UnitState::Active { notes: Vec::new() };
    for generation in [2, 3, 3] {
        apply(&mut reconciler, policy(generation), at(20)).await;
        assert_eq!(reconciler.state_to_persist().previous_versions, [a_policy(1)]);
        assert_eq!(
            reconciler.snapshot(at(20)).previous_generations,
            [(UnitKey::of_part(&a_policy(generation)), 1)].into()
        );
        assert_eq!(reconciler.state_to_persist().with_previous_versions().unwrap().parts, [a_policy(1)]);
    }
    apply(&mut reconciler, Desired::default(), at(30)).await;
    apply(&mut reconciler, policy(4), at(40)).await;
    assert_eq!(reconciler.state_to_persist().previous_versions, []);
}
