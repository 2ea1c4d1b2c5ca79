//! The pure phases of a time-limited resource: when it starts, which nodes get its session, when it is removed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use trilobite_crds::{
    AppProfile, ObservabilityStack, Reason, Refusal, RequestsSpec, UserKind as _,
    condition::{ConditionStatus, ConditionType, Finding, merge},
    node::{AppProfileSession, CpuProfileSession, MAX_SESSIONS, NodeRuntime, NodeRuntimeSpec, Session, SessionContent},
    selector::Labels,
};

use super::{
    build::{Sessions, build},
    dereference::DereferencedResource,
    expire::deletion_time,
    next_reconcile,
    validate::{ValidatedResource, validate},
};
use crate::{context::StackState, controllers::phase::Prepared, watch::pods::ScheduledPod};

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(second)).unwrap()
}

/// A profile of 30 seconds with a start in its status.
fn started() -> AppProfile {
    let mut profile: AppProfile = serde_yaml::from_str(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: hot, namespace: payments}\nspec: {podSelector: {}, cpu: {}, durationSeconds: 30}",
    )
    .unwrap();
    profile.status.get_or_insert_default().started_at = Some(at(100));
    profile
}

fn pod(node: &str) -> ScheduledPod {
    ScheduledPod { node: node.into(), labels: BTreeMap::new() }
}

fn dereferenced(pods: &[&str], with_session: &[&str]) -> DereferencedResource {
    let runtime = |name: &str| {
        let mut runtime = NodeRuntime::new(name, NodeRuntimeSpec::default());
        runtime.metadata.uid = Some(format!("uid-of-{name}"));
        if with_session.contains(&name) {
            runtime.spec.sessions.push(session());
        }
        (name.to_owned(), Arc::new(runtime))
    };
    DereferencedResource {
        stack: StackState::Present(Arc::new(stack("{}"))),
        pods: Some(pods.iter().map(|node| pod(node)).collect()),
        namespace_labels: BTreeMap::new(),
        runtimes: ["reef-1", "reef-2"].map(runtime).into(),
        completed: false,
        known_start: None,
        above_budget: None,
    }
}

fn stack(spec: &str) -> ObservabilityStack {
    serde_yaml::from_str(&format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {{name: default}}\nspec: {spec}"
    ))
    .unwrap()
}

/// Only namespaces with a label may be profiled.
const NARROW: &str = "{application: {namespaceSelector: {matchLabels: {profiled: please}}}}";

fn session() -> Session {
    trilobite_crds::session_for_profile(&started(), &stack("{}"), &Labels::new(), at(100)).unwrap()
}

fn build_at(dereferenced: &DereferencedResource, now: Timestamp) -> Sessions<Prepared> {
    let profile = started();
    build(&profile, &validate(&profile, dereferenced, now), dereferenced)
}

/// Nodes to which the session is added, nodes from which it is removed, nodes that have it afterwards.
fn changes(dereferenced: &DereferencedResource, now: Timestamp) -> (Vec<String>, Vec<String>, Option<Vec<String>>) {
    let sessions = build_at(dereferenced, now);
    (
        sessions.add.iter().map(|(runtime, _)| runtime.node.clone()).collect(),
        sessions.remove.iter().map(|(runtime, _)| runtime.node.clone()).collect(),
        sessions.nodes.map(|nodes| nodes.into_iter().collect()),
    )
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn no_node_gets_a_session_before_the_start_is_written() {
    let mut new = started();
    new.status = None;
    let dereferenced = dereferenced(&["reef-1"], &[]);
    let validated = validate(&new, &dereferenced, at(200));
    assert!(
        matches!(&validated, ValidatedResource::Starting(session, start) if *start == at(200) && session.expires_at == at(230))
    );
    assert!(build(&new, &validated, &dereferenced).add.is_empty());
}

#[test]
fn edited_start_neither_moves_the_end_nor_starts_again() {
    let known = DereferencedResource { known_start: Some(at(100)), ..dereferenced(&["reef-1"], &["reef-1"]) };
    let mut edited = started();
    for start in [Some(at(1_000)), Some(at(1)), None] {
        edited.status.get_or_insert_default().started_at = start;
        let (ValidatedResource::Running(session, from) | ValidatedResource::Starting(session, from)) =
            validate(&edited, &known, at(110))
        else {
            panic!("it runs until 130");
        };
        assert_eq!((from, session.expires_at), (at(100), at(130)), "{start:?}");
    }
}

#[test]
fn only_nodes_with_a_matching_pod_get_the_session() {
    assert_eq!(
        changes(&dereferenced(&["reef-2"], &[]), at(110)),
        (names(&["reef-2"]), names(&[]), Some(names(&["reef-2"])))
    );
    assert_eq!(
        changes(&dereferenced(&["reef-2"], &["reef-2"]), at(110)),
        (names(&[]), names(&[]), Some(names(&["reef-2"])))
    );
}

#[test]
fn a_node_keeps_its_session_while_its_pods_restart() {
    assert_eq!(changes(&dereferenced(&[], &["reef-2"]), at(110)), (names(&[]), names(&[]), Some(names(&["reef-2"]))));
}

#[test]
fn after_the_end_sessions_stay_for_the_final_report() {
    let late = changes(&dereferenced(&["reef-1", "reef-2"], &["reef-2"]), at(130));
    assert_eq!(late, (names(&[]), names(&[]), Some(names(&["reef-2"]))));
}

#[test]
fn a_completed_refused_or_suspended_session_is_removed_everywhere() {
    let mut completed = dereferenced(&["reef-1"], &["reef-1", "reef-2"]);
    completed.completed = true;
    assert_eq!(changes(&completed, at(110)).1, names(&["reef-1", "reef-2"]));
    for (spec, expected) in
        [("{application: {mode: Disabled}}", Reason::LayerDisabled), ("{suspend: true}", Reason::Suspended)]
    {
        let mut closed = dereferenced(&["reef-1"], &["reef-1"]);
        closed.stack = StackState::Present(Arc::new(stack(spec)));
        match validate(&started(), &closed, at(110)) {
            ValidatedResource::Refused(refusal) => assert_eq!(refusal.reason, expected),
            other => assert!(matches!(other, ValidatedResource::Suspended) && expected == Reason::Suspended),
        }
        assert_eq!(changes(&closed, at(110)).1, names(&["reef-1"]));
    }
}

#[test]
fn a_namespace_outside_the_layers_scope_gets_no_session() {
    let mut outside = dereferenced(&["reef-1"], &[]);
    outside.stack = StackState::Present(Arc::new(stack(NARROW)));
    assert_eq!(changes(&outside, at(110)), (names(&[]), names(&[]), Some(names(&[]))));
    assert!(build_at(&outside, at(110)).out_of_scope);
    outside.namespace_labels.insert("profiled".into(), "please".into());
    assert_eq!(changes(&outside, at(110)).0, names(&["reef-1"]));
}

/// Puts a different session of the same name on `node`.
fn set_session(dereferenced: &mut DereferencedResource, node: &str, session: Session) {
    let mut runtime = NodeRuntime::clone(&dereferenced.runtimes[node]);
    runtime.spec.sessions = vec![session];
    dereferenced.runtimes.insert(node.into(), Arc::new(runtime));
}

#[test]
fn a_session_with_a_scope_that_is_now_too_wide_is_removed() {
    let mut narrowed = dereferenced(&["reef-1"], &["reef-1"]);
    narrowed.stack = StackState::Present(Arc::new(stack(NARROW)));
    assert_eq!(changes(&narrowed, at(110)), (names(&[]), names(&["reef-1"]), Some(names(&[]))));
}

#[test]
fn a_session_of_an_older_object_is_removed_first() {
    let old = Session { expires_at: at(90), ..session() };
    let mut remade = dereferenced(&["reef-1"], &[]);
    set_session(&mut remade, "reef-1", old.clone());
    set_session(&mut remade, "reef-2", old);
    let both = names(&["reef-1", "reef-2"]);
    assert_eq!(changes(&remade, at(110)), (names(&["reef-1"]), both.clone(), Some(names(&["reef-1"]))));
    assert_eq!(changes(&remade, at(130)), (names(&[]), both, Some(names(&[]))), "its reports do not count");
}

#[test]
fn a_full_node_gets_no_session_and_is_named() {
    let mut crowded = dereferenced(&["reef-1", "reef-2"], &[]);
    let mut runtime = NodeRuntime::clone(&crowded.runtimes["reef-1"]);
    runtime.spec.sessions =
        (0..MAX_SESSIONS).map(|number| Session { name: format!("other.{number}"), ..session() }).collect();
    crowded.runtimes.insert("reef-1".into(), Arc::new(runtime));
    assert_eq!(changes(&crowded, at(110)).0, names(&["reef-2"]));
    assert_eq!(build_at(&crowded, at(110)).full_nodes.into_iter().collect::<Vec<_>>(), names(&["reef-1"]));
}

#[test]
fn a_session_without_listed_pods_is_reconciled_at_its_end() {
    let mut unlisted = dereferenced(&[], &[]);
    unlisted.pods = None;
    let validated = validate(&started(), &unlisted, at(110));
    assert_eq!(next_reconcile(&validated, &unlisted, None, at(110)), Action::requeue(Duration::from_secs(20)));
    let listed = dereferenced(&[], &[]);
    assert_eq!(next_reconcile(&validated, &listed, None, at(110)), Action::await_change());
}

#[test]
fn a_profile_above_the_budget_is_refused_until_others_end() {
    let mut crowded = dereferenced(&["reef-1"], &["reef-1"]);
    let refusal = Refusal::new(&started().source(), Reason::NamespaceBudgetExceeded, "", "in use by hot");
    crowded.above_budget = Some(refusal.clone());
    let validated = validate(&started(), &crowded, at(110));
    assert_eq!(validated, ValidatedResource::Refused(refusal));
    assert_eq!(changes(&crowded, at(110)).1, names(&["reef-1"]), "a lower budget ends it");
    assert_eq!(next_reconcile(&validated, &crowded, None, at(110)), Action::requeue(Duration::from_secs(5)));
    assert!(matches!(validate(&started(), &crowded, at(130)), ValidatedResource::Ending(..)), "it keeps its result");
}

#[test]
fn a_completed_object_is_deleted_its_ttl_after_the_end() {
    let mut profile = started();
    profile.spec.ttl_seconds_after_finished = Some(60);
    assert_eq!(deletion_time(&profile), None, "it has no conditions");
    for (status, expected) in [(ConditionStatus::False, None), (ConditionStatus::True, Some(at(190)))] {
        let completed = Finding::new(ConditionType::Completed, status, Reason::DurationElapsed, "");
        profile.status.get_or_insert_default().common.conditions = merge(&[], &[completed], 1, at(130));
        assert_eq!(deletion_time(&profile), expected);
    }
    profile.spec.ttl_seconds_after_finished = Some(0);
    assert_eq!(deletion_time(&profile), Some(at(130)));
    profile.spec.ttl_seconds_after_finished = None;
    assert_eq!(deletion_time(&profile), None, "it is kept");
}

#[test]
fn an_unreadable_stack_changes_no_session() {
    let mut unreadable = dereferenced(&["reef-1"], &["reef-2"]);
    unreadable.stack = StackState::Unreadable;
    assert_eq!(changes(&unreadable, at(110)), (names(&[]), names(&[]), None));
}

#[test]
fn nodes_keep_a_completed_session_while_its_rows_can_be_read() {
    let mut profile = started();
    profile.spec.requests = Some(RequestsSpec::default());
    let session = trilobite_crds::session_for_profile(&profile, &stack("{}"), &Labels::new(), at(100)).unwrap();
    let mut completed = dereferenced(&["reef-2"], &[]);
    set_session(&mut completed, "reef-1", session);
    completed.completed = true;
    let after = |dereferenced: &DereferencedResource, deletion: Option<Timestamp>, now: Timestamp| {
        let validated = validate(&profile, dereferenced, now);
        let sessions = build(&profile, &validated, dereferenced);
        assert!(sessions.add.is_empty(), "no other node gets it");
        (sessions.remove.len(), next_reconcile(&validated, dereferenced, deletion, now))
    };
    assert_eq!(after(&completed, None, at(200)), (0, Action::requeue(Duration::from_secs(530))));
    assert_eq!(after(&completed, Some(at(300)), at(200)), (0, Action::requeue(Duration::from_secs(100))));
    assert_eq!(after(&completed, None, at(730)), (1, Action::await_change()));
    completed.stack = StackState::Unreadable;
    assert_eq!(after(&completed, None, at(200)).0, 0, "it is not known whether they may stay");
    completed.stack = StackState::Present(Arc::new(stack("{application: {mode: Disabled}}")));
    assert_eq!(after(&completed, None, at(200)).0, 1);
}

#[test]
fn a_session_of_an_earlier_operator_is_left_alone() {
    let session = session();
    let AppProfileSession { pods, memory_budget_bytes, .. } = session.content.app_profile().unwrap();
    let content = SessionContent::CpuProfile(CpuProfileSession { pods, frequency_hz: 49, memory_budget_bytes });
    let mut earlier = dereferenced(&["reef-1"], &[]);
    set_session(&mut earlier, "reef-1", Session { content, ..session });
    assert_eq!(changes(&earlier, at(110)), (names(&[]), names(&[]), Some(names(&["reef-1"]))));
}
