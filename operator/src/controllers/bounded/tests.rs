//! The pure phases of a bounded resource: when it may begin, which nodes are given its session, when it is taken.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use trilobite_crds::{
    AppProfile, ObservabilityStack, Reason,
    node::{NodeRuntime, NodeRuntimeSpec, Session},
};

use super::{build, dereference::Found, validate, validate::Valid};
use crate::{context::StackNow, watch::pods::PlacedPod};

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(second)).unwrap()
}

/// A profile of 30 seconds whose start was written down.
fn started() -> AppProfile {
    let mut profile: AppProfile = serde_yaml::from_str(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: hot, namespace: payments}\nspec: {podSelector: {}, cpu: {}, durationSeconds: 30}",
    )
    .unwrap();
    profile.status.get_or_insert_default().started_at = Some(at(100));
    profile
}

fn pod(node: &str) -> PlacedPod {
    PlacedPod { node: node.into(), labels: BTreeMap::new() }
}

fn found(pods: &[&str], holders: &[&str]) -> Found {
    let runtime = |name: &str| {
        let mut runtime = NodeRuntime::new(name, NodeRuntimeSpec::default());
        runtime.metadata.uid = Some(format!("uid-of-{name}"));
        if holders.contains(&name) {
            runtime.spec.sessions.push(session());
        }
        (name.to_owned(), Arc::new(runtime))
    };
    Found {
        stack: StackNow::There(Arc::new(stack("{}"))),
        pods: Some(pods.iter().map(|node| pod(node)).collect()),
        namespace_labels: BTreeMap::new(),
        runtimes: ["reef-1", "reef-2"].map(runtime).into(),
        over: false,
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
    trilobite_crds::session_for_profile(&started(), &stack("{}"), at(100)).unwrap()
}

fn built(found: &Found, now: Timestamp) -> build::Sessions<build::Prepared> {
    let profile = started();
    build::run(&profile, &validate::run(&profile, found, now), found)
}

/// Nodes that are given the session, nodes from which it is taken, nodes that have it then.
fn moves(found: &Found, now: Timestamp) -> (Vec<String>, Vec<String>, Option<Vec<String>>) {
    let sessions = built(found, now);
    (
        sessions.give.iter().map(|(target, _)| target.node.clone()).collect(),
        sessions.take.iter().map(|(target, _)| target.node.clone()).collect(),
        sessions.nodes.map(|nodes| nodes.into_iter().collect()),
    )
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn nothing_is_given_before_the_start_is_written_down() {
    let mut new = started();
    new.status = None;
    let found = found(&["reef-1"], &[]);
    let valid = validate::run(&new, &found, at(200));
    assert!(matches!(&valid, Valid::Starting(session, start) if *start == at(200) && session.expires_at == at(230)));
    assert!(build::run(&new, &valid, &found).give.is_empty());
}

#[test]
fn only_a_node_with_a_pod_is_given_the_session_and_only_once() {
    assert_eq!(moves(&found(&["reef-2"], &[]), at(110)), (names(&["reef-2"]), names(&[]), Some(names(&["reef-2"]))));
    assert_eq!(moves(&found(&["reef-2"], &["reef-2"]), at(110)), (names(&[]), names(&[]), Some(names(&["reef-2"]))));
}

#[test]
fn a_node_keeps_its_session_while_its_pods_restart() {
    assert_eq!(moves(&found(&[], &["reef-2"]), at(110)), (names(&[]), names(&[]), Some(names(&["reef-2"]))));
}

#[test]
fn after_its_end_no_node_is_given_it_and_what_is_there_waits_for_the_last_word() {
    let late = moves(&found(&["reef-1", "reef-2"], &["reef-2"]), at(130));
    assert_eq!(late, (names(&[]), names(&[]), Some(names(&["reef-2"]))));
}

#[test]
fn what_is_over_refused_or_suspended_is_taken_from_every_node() {
    let mut over = found(&["reef-1"], &["reef-1", "reef-2"]);
    over.over = true;
    assert_eq!(moves(&over, at(110)).1, names(&["reef-1", "reef-2"]));
    for (spec, expected) in
        [("{application: {mode: Disabled}}", Reason::LayerDisabled), ("{suspend: true}", Reason::Suspended)]
    {
        let mut closed = found(&["reef-1"], &["reef-1"]);
        closed.stack = StackNow::There(Arc::new(stack(spec)));
        match validate::run(&started(), &closed, at(110)) {
            Valid::Refused(refusal) => assert_eq!(refusal.reason, expected),
            other => assert!(matches!(other, Valid::Suspended) && expected == Reason::Suspended),
        }
        assert_eq!(moves(&closed, at(110)).1, names(&["reef-1"]));
    }
}

#[test]
fn a_namespace_outside_the_layers_scope_has_no_node() {
    let mut outside = found(&["reef-1"], &[]);
    outside.stack = StackNow::There(Arc::new(stack(NARROW)));
    assert_eq!(moves(&outside, at(110)), (names(&[]), names(&[]), Some(names(&[]))));
    assert!(built(&outside, at(110)).out_of_scope);
    outside.namespace_labels.insert("profiled".into(), "please".into());
    assert_eq!(moves(&outside, at(110)).0, names(&["reef-1"]));
}

/// A session of the same name on `node` that differs from the one that is asked for.
fn holds(found: &mut Found, node: &str, session: Session) {
    let mut runtime = NodeRuntime::clone(&found.runtimes[node]);
    runtime.spec.sessions = vec![session];
    found.runtimes.insert(node.into(), Arc::new(runtime));
}

#[test]
fn a_node_keeps_no_session_with_a_wider_scope_than_the_stack_now_allows() {
    let mut narrowed = found(&["reef-1"], &["reef-1"]);
    narrowed.stack = StackNow::There(Arc::new(stack(NARROW)));
    assert_eq!(moves(&narrowed, at(110)), (names(&[]), names(&["reef-1"]), Some(names(&[]))));
}

#[test]
fn what_an_older_object_of_the_same_name_left_is_taken_before_the_new_one_is_given() {
    let old = Session { expires_at: at(90), ..session() };
    let mut remade = found(&["reef-1"], &[]);
    holds(&mut remade, "reef-1", old.clone());
    holds(&mut remade, "reef-2", old);
    let both = names(&["reef-1", "reef-2"]);
    assert_eq!(moves(&remade, at(110)), (names(&["reef-1"]), both.clone(), Some(names(&["reef-1"]))));
    assert_eq!(moves(&remade, at(130)), (names(&[]), both, Some(names(&[]))), "nor do its last words count");
}

#[test]
fn a_node_that_holds_as_many_sessions_as_it_can_is_given_none_and_is_named() {
    let mut crowded = found(&["reef-1", "reef-2"], &[]);
    let mut runtime = NodeRuntime::clone(&crowded.runtimes["reef-1"]);
    runtime.spec.sessions = (0..64).map(|number| Session { name: format!("other.{number}"), ..session() }).collect();
    crowded.runtimes.insert("reef-1".into(), Arc::new(runtime));
    assert_eq!(moves(&crowded, at(110)).0, names(&["reef-2"]));
    assert_eq!(built(&crowded, at(110)).full.into_iter().collect::<Vec<_>>(), names(&["reef-1"]));
}

#[test]
fn the_end_is_waited_for_though_the_pods_are_not_found() {
    let mut dark = found(&[], &[]);
    dark.pods = None;
    let valid = validate::run(&started(), &dark, at(110));
    assert_eq!(super::next(&valid, &dark, at(110)), Action::requeue(Duration::from_secs(20)));
    let seen = found(&[], &[]);
    assert_eq!(super::next(&valid, &seen, at(110)), Action::await_change());
}

#[test]
fn beside_a_stack_that_cannot_be_read_nothing_is_given_and_nothing_is_taken() {
    let mut dark = found(&["reef-1"], &["reef-2"]);
    dark.stack = StackNow::Unreadable;
    assert_eq!(moves(&dark, at(110)), (names(&[]), names(&[]), None));
}
