//! What the index answers of sessions: what ends by itself.

use std::{collections::BTreeSet, time::Duration};

use trilobite_crds::{
    Reason,
    condition::{
        ConditionStatus::{False, True},
        ConditionType::{Completed, Degraded, Ready},
    },
    node::{RESULT_WITHIN, SessionState, SessionStatus, SourceKind},
};

use super::{
    Asked, Key, Report, SessionAsked, Wanted, Written,
    facts::RuntimeFact,
    index::Computed,
    index_tests::{applied, asked, at, compute, condition, index, nodes_that_are_ready, reason, says, source},
};

fn session(nodes: &[&str]) -> Asked {
    let nodes = Some(nodes.iter().map(|node| (*node).to_owned()).collect());
    let name = "appprofile.payments.hot".to_owned();
    let (started_at, expires_at) = (at(0), at(30));
    let session = SessionAsked { name, started_at, expires_at, nodes, full: BTreeSet::new(), out_of_scope: false };
    asked(source(SourceKind::AppProfile, "hot"), Wanted::Session(session))
}

fn with_line(state: SessionState, records: i64) -> RuntimeFact {
    let name = "appprofile.payments.hot".to_owned();
    let line = SessionStatus { name: name.clone(), expires_at: Some(at(30)), state, records, lost: 1 };
    RuntimeFact { told_sessions: vec![(name, at(30))], sessions: vec![line], ..applied("new") }
}

#[test]
fn a_session_counts_only_the_nodes_that_run_its_pods() {
    let mut index = nodes_that_are_ready(5);
    index.runtime("reef-3", Some(with_line(SessionState::Running, 49)), at(5));
    let computed = compute(&mut index, session(&["reef-3"]), at(10));
    assert_eq!(computed.written.common.ready_nodes.as_deref(), Some("1/1"));
    assert_eq!(says(&computed, Completed), reason(False, Reason::Running));
    assert_eq!(computed.next, Some(at(30)), "it is looked at when its time is over");
}

#[test]
fn a_session_ends_with_what_its_nodes_said_last_though_they_say_it_no_longer() {
    let mut index = nodes_that_are_ready(2);
    compute(&mut index, session(&["reef-0", "reef-1"]), at(1));
    index.runtime("reef-0", Some(with_line(SessionState::Completed, 100)), at(30));
    index.runtime("reef-1", Some(with_line(SessionState::Completed, 50)), at(30));
    index.runtime("reef-1", Some(applied("new")), at(31));
    let computed = compute(&mut index, session(&["reef-0", "reef-1"]), at(31));
    assert_eq!(says(&computed, Completed), reason(True, Reason::DurationElapsed));
    let results = computed.written.results.clone().unwrap();
    assert_eq!((results.samples, results.lost, results.nodes), (150, 2, 2));
    assert_eq!(says(&computed, Ready), reason(True, Reason::Ready));
}

#[test]
fn a_session_whose_node_says_nothing_more_ends_without_it() {
    let mut index = nodes_that_are_ready(2);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.runtime("reef-0", Some(with_line(SessionState::Running, 10)), at(20));
    let waits = compute(&mut index, session(&["reef-0"]), at(31));
    assert_eq!(says(&waits, Completed), reason(False, Reason::Running));
    let ended = compute(&mut index, session(&["reef-0"]), at(105));
    assert_eq!(says(&ended, Completed), reason(True, Reason::DurationElapsed));
}

#[test]
fn a_session_waits_for_a_result_that_may_still_be_made_and_has_its_sums_or_its_failure() {
    let mut index = nodes_that_are_ready(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.runtime("reef-0", Some(with_line(SessionState::Running, 10)), at(29));
    let in_time = at(30) + RESULT_WITHIN + Duration::from_secs(5);
    let waits = compute(&mut index, session(&["reef-0"]), in_time);
    assert_eq!(says(&waits, Completed), reason(False, Reason::Running), "it made no result yet");
    index.runtime("reef-0", Some(with_line(SessionState::Completed, 700)), in_time);
    let computed = compute(&mut index, session(&["reef-0"]), in_time);
    assert_eq!(says(&computed, Completed), reason(True, Reason::DurationElapsed));
    assert_eq!(computed.written.results.unwrap().samples, 700);
}

#[test]
fn a_session_without_pods_is_ready_and_degraded() {
    let computed = compute(&mut nodes_that_are_ready(2), session(&[]), at(10));
    assert_eq!(says(&computed, Ready), reason(True, Reason::NoMatchingPods));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::NoMatchingPods));
}

/// The same session, changed a little.
fn session_but(change: impl FnOnce(&mut SessionAsked)) -> Asked {
    let mut asked = session(&["reef-0"]);
    if let Wanted::Session(session) = &mut asked.wanted {
        change(session);
    }
    asked
}

#[test]
fn what_a_node_says_of_an_older_object_of_the_same_name_ends_no_new_one_at_its_birth() {
    let mut index = nodes_that_are_ready(1);
    let mut old = with_line(SessionState::Completed, 490);
    old.sessions[0].expires_at = Some(at(-10));
    index.runtime("reef-0", Some(old.clone()), at(1));
    let computed = compute(&mut index, session(&["reef-0"]), at(2));
    assert_eq!(says(&computed, Completed), reason(False, Reason::Running));
    assert_eq!(computed.written.results, None);
    // An agent of an older version does not say the end; it has not seen yet that there is another session.
    old.sessions[0].expires_at = None;
    old.generation = 2;
    index.runtime("reef-0", Some(old.clone()), at(3));
    assert_eq!(says(&compute(&mut index, session(&["reef-0"]), at(4)), Completed), reason(False, Reason::Running));
    old.observed = Some(2);
    index.runtime("reef-0", Some(old), at(5));
    let computed = compute(&mut index, session(&["reef-0"]), at(6));
    assert_eq!(says(&computed, Completed), reason(True, Reason::LimitReached), "now it has");
}

#[test]
fn a_session_whose_end_came_before_its_agent_is_not_taken_for_a_good_one() {
    let mut index = nodes_that_are_ready(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.runtime("reef-0", Some(with_line(SessionState::Expired, 0)), at(31));
    let computed = compute(&mut index, session(&["reef-0"]), at(32));
    assert_eq!(says(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::SessionExpired));
    assert_eq!(says(&computed, Completed), reason(True, Reason::DurationElapsed));
    assert_eq!(computed.written.results, None);
}

#[test]
fn a_session_whose_pods_run_only_where_no_agent_is_says_so() {
    let computed = compute(&mut nodes_that_are_ready(2), session(&["islet-7"]), at(10));
    assert_eq!(says(&computed, Ready), reason(True, Reason::NoMatchingNodes));
    let message = condition(&computed, Degraded).message;
    assert!(message.contains("the stack's nodeSelector and tolerations"), "{message}");
}

#[test]
fn a_session_of_a_namespace_that_the_layer_leaves_out_says_so() {
    let outside = session_but(|session| (session.nodes, session.out_of_scope) = (Some(BTreeSet::new()), true));
    let computed = compute(&mut nodes_that_are_ready(2), outside, at(10));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::NoMatchingPods));
    let message = condition(&computed, Degraded).message;
    assert!(message.contains("spec.application.namespaceSelector leaves out namespace payments"), "{message}");
}

#[test]
fn a_node_without_room_for_one_more_session_fails_it_in_its_own_words() {
    let crowded = session_but(|session| _ = session.full.insert("reef-0".into()));
    let computed = compute(&mut nodes_that_are_ready(1), crowded, at(10));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::NodeFull));
}

#[test]
fn what_has_ended_stays_as_it_ended_whatever_becomes_of_its_nodes() {
    let mut index = nodes_that_are_ready(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.runtime("reef-0", Some(with_line(SessionState::Completed, 100)), at(30));
    let ended = compute(&mut index, session(&["reef-0"]), at(31));
    assert_eq!(says(&ended, Completed), reason(True, Reason::DurationElapsed));
    index.agent("pod-0", None, at(40));
    index.runtime("reef-0", None, at(41));
    index.node("reef-0", None);
    let key = Key::from(&session(&[]).source);
    index.report(Report::Asked(Box::new(session(&[]))));
    let later = index.compute(&key, &ended.written, at(500)).unwrap();
    assert_eq!(later, Computed { written: ended.written, next: None });
}

#[test]
fn what_runs_is_not_said_to_wait_by_an_operator_that_has_just_come() {
    let mut before = nodes_that_are_ready(1);
    before.runtime("reef-0", Some(with_line(SessionState::Running, 7)), at(1));
    let said = compute(&mut before, session(&["reef-0"]), at(2)).written;
    assert_eq!(said.results.as_ref().map(|results| results.samples), Some(7));
    let mut index = index();
    let key = Key::from(&session(&[]).source);
    index.report(Report::Asked(Box::new(session(&["reef-0"]))));
    let computed = index.compute(&key, &said, at(3)).unwrap();
    assert_eq!(computed, Computed { written: said, next: Some(at(30)) });
    let new = index.compute(&key, &Written::default(), at(3)).unwrap();
    assert_eq!(new.written.started_at, Some(at(0)), "the start of a new one is written all the same");
}

#[test]
fn a_node_whose_session_has_ended_is_no_worse_for_an_agent_that_goes() {
    let mut index = nodes_that_are_ready(2);
    compute(&mut index, session(&["reef-0", "reef-1"]), at(1));
    index.runtime("reef-0", Some(with_line(SessionState::Completed, 100)), at(20));
    index.runtime("reef-1", Some(with_line(SessionState::Running, 100)), at(20));
    index.agent("pod-0", None, at(20));
    let computed = compute(&mut index, session(&["reef-0", "reef-1"]), at(300));
    assert_eq!(says(&computed, Ready), reason(True, Reason::Ready));
}

#[test]
fn a_count_that_goes_up_concerns_its_own_session_and_nobody_else() {
    let mut index = nodes_that_are_ready(1);
    let mut other = session(&["reef-0"]);
    other.source.name = "other".into();
    if let Wanted::Session(session) = &mut other.wanted {
        session.name = "appprofile.payments.other".into();
    }
    let policy = asked(source(SourceKind::TracingPolicy, "watch-ink"), Wanted::Nothing);
    for asked in [session(&["reef-0"]), other, policy] {
        index.report(Report::Asked(Box::new(asked)));
    }
    index.runtime("reef-0", Some(with_line(SessionState::Running, 1)), at(5));
    assert_eq!(index.take_dirty().len(), 3, "that it runs is told with what the node was told");
    index.runtime("reef-0", Some(with_line(SessionState::Running, 2)), at(6));
    assert_eq!(index.take_dirty(), BTreeSet::from([Key::from(&session(&[]).source)]));
    let no_line = RuntimeFact { sessions: Vec::new(), ..with_line(SessionState::Running, 2) };
    index.runtime("reef-0", Some(no_line), at(7));
    assert_eq!(index.take_dirty().len(), 1);
}
