//! The index: statuses of FlowCaptures and AppProfiles, which become sessions.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::core::v1::Taint;
use trilobite_crds::{
    Reason, bounds,
    condition::{
        ConditionStatus::{False, True},
        ConditionType::{Completed, Degraded, Ready, Reconciling, Stalled},
        find,
    },
    node::{NodeProblem, RESULT_WITHIN, SessionState, SessionStatus, SourceKind},
};

use super::{
    ComputedStatus,
    tests::{applied, at, compute, condition, index, ready_nodes, reason, source, state, status_input},
};
use crate::{
    resource_key::ResourceKey,
    status::{
        controller_report::{ControllerReport, Requested, SessionRequest, StatusInput},
        facts::{NodeFact, RuntimeFact},
        user_status::UserStatus,
    },
};

fn session(nodes: &[&str]) -> StatusInput {
    let nodes = Some(nodes.iter().map(|node| (*node).to_owned()).collect());
    let name = "appprofile.payments.hot".to_owned();
    let (started_at, expires_at) = (at(0), at(30));
    let session = SessionRequest {
        name,
        started_at,
        expires_at,
        nodes,
        full_nodes: BTreeSet::new(),
        out_of_scope: false,
        samples_cpu: true,
        requests: None,
    };
    status_input(source(SourceKind::AppProfile, "hot"), Requested::Session(session))
}

fn with_session(state: SessionState, records: i64) -> RuntimeFact {
    let name = "appprofile.payments.hot".to_owned();
    let status =
        SessionStatus { name: name.clone(), expires_at: Some(at(30)), state, records, lost: 1, requests: None };
    RuntimeFact { desired_sessions: vec![(name, at(30))], sessions: vec![status], ..applied("new") }
}

#[test]
fn a_session_counts_only_the_nodes_that_run_its_pods() {
    let mut index = ready_nodes(5);
    index.set_runtime("reef-3", Some(with_session(SessionState::Running, 49)), at(5));
    let computed = compute(&mut index, session(&["reef-3"]), at(10));
    assert_eq!(computed.status.common.ready_nodes.as_deref(), Some("1/1"));
    assert_eq!(state(&computed, Completed), reason(False, Reason::Running));
    assert_eq!(computed.recompute_at, Some(at(30)), "it is computed again at its end");
}

#[test]
fn a_session_ends_with_the_last_reports_of_its_nodes() {
    let mut index = ready_nodes(2);
    compute(&mut index, session(&["reef-0", "reef-1"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Completed, 100)), at(30));
    index.set_runtime("reef-1", Some(with_session(SessionState::Completed, 50)), at(30));
    index.set_runtime("reef-1", Some(applied("new")), at(31));
    let computed = compute(&mut index, session(&["reef-0", "reef-1"]), at(31));
    assert_eq!(state(&computed, Completed), reason(True, Reason::DurationElapsed));
    let results = computed.status.results.clone().unwrap();
    assert_eq!((results.samples, results.lost, results.nodes), (150, 2, 2));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
}

#[test]
fn a_session_ends_without_the_report_of_a_silent_node() {
    let mut index = ready_nodes(2);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Running, 10)), at(20));
    let waits = compute(&mut index, session(&["reef-0"]), at(31));
    assert_eq!(state(&waits, Completed), reason(False, Reason::Running));
    let ended = compute(&mut index, session(&["reef-0"]), at(105));
    assert_eq!(state(&ended, Completed), reason(True, Reason::DurationElapsed));
}

#[test]
fn a_session_waits_for_results_that_may_still_be_made() {
    let mut index = ready_nodes(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Running, 10)), at(29));
    let in_time = at(30) + RESULT_WITHIN + Duration::from_secs(5);
    let waits = compute(&mut index, session(&["reef-0"]), in_time);
    assert_eq!(state(&waits, Completed), reason(False, Reason::Running), "it has no result yet");
    index.set_runtime("reef-0", Some(with_session(SessionState::Completed, 700)), in_time);
    let computed = compute(&mut index, session(&["reef-0"]), in_time);
    assert_eq!(state(&computed, Completed), reason(True, Reason::DurationElapsed));
    assert_eq!(computed.status.results.unwrap().samples, 700);
}

#[test]
fn a_session_without_pods_is_not_ready_and_waits_until_its_end() {
    let mut index = ready_nodes(2);
    let computed = compute(&mut index, session(&[]), at(10));
    assert_eq!(state(&computed, Ready), reason(False, Reason::NoMatchingPods));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::NoMatchingPods));
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::NoMatchingPods));
    let ended = compute(&mut index, session(&[]), at(30));
    assert_eq!(state(&ended, Completed), reason(True, Reason::DurationElapsed));
    assert_eq!(state(&ended, Stalled), reason(True, Reason::NoMatchingPods), "no pod can start it any more");
}

#[test]
fn a_session_that_no_node_can_start_is_stalled() {
    let mut index = ready_nodes(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    let problem = NodeProblem {
        source: source(SourceKind::AppProfile, "hot"),
        reason: "PerfParanoid".into(),
        field: String::new(),
        message: "perf events are forbidden; set the sysctl".into(),
    };
    let refused = RuntimeFact { problems: vec![problem], ..with_session(SessionState::Refused, 0) };
    index.set_runtime("reef-0", Some(refused), at(2));
    assert_eq!(state(&compute(&mut index, session(&["reef-0"]), at(3)), Stalled), reason(True, Reason::PerfParanoid));
    let full = session_with(|session| _ = session.full_nodes.insert("reef-0".into()));
    let computed = compute(&mut ready_nodes(1), full, at(10));
    assert_eq!(find(&computed.status.common.conditions, Stalled), None, "room is made by sessions that end");
}

#[test]
fn nodes_that_did_not_report_are_counted_at_the_end() {
    let mut index = ready_nodes(3);
    let nodes = ["reef-0", "reef-1", "islet-7"];
    index.set_node("islet-7", Some(NodeFact { taints: vec![no_execute()], ..NodeFact::default() }));
    compute(&mut index, session(&nodes), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Completed, 100)), at(30));
    let running = compute(&mut index, session(&nodes), at(20));
    let summary = running.status.common.summary.unwrap();
    assert!(summary.contains("1 node with matching pods is not the stack's"), "{summary}");
    let ended = compute(&mut index, session(&nodes), at(105));
    let message = condition(&ended, Completed).message;
    let result = "100 samples from 1 node, 1 lost; 1 node did not report the end";
    assert!(message.ends_with(&format!("{result}; fetch it with: trilobite profile --name payments/hot")), "{message}");
    assert_eq!(state(&ended, Stalled), reason(True, Reason::AgentSilent));
}

fn no_execute() -> Taint {
    Taint { key: "reserved".into(), effect: "NoExecute".into(), value: None, time_added: None }
}

/// The same session with a change.
fn session_with(change: impl FnOnce(&mut SessionRequest)) -> StatusInput {
    let mut input = session(&["reef-0"]);
    if let Requested::Session(session) = &mut input.requested {
        change(session);
    }
    input
}

#[test]
fn a_report_about_an_older_object_does_not_end_a_new_one() {
    let mut index = ready_nodes(1);
    let mut old = with_session(SessionState::Completed, 490);
    old.sessions[0].expires_at = Some(at(-10));
    index.set_runtime("reef-0", Some(old.clone()), at(1));
    let computed = compute(&mut index, session(&["reef-0"]), at(2));
    assert_eq!(state(&computed, Completed), reason(False, Reason::Running));
    assert_eq!(computed.status.results, None);
    // An agent of an older version reports no end, and has not observed the new session yet.
    old.sessions[0].expires_at = None;
    old.generation = 2;
    index.set_runtime("reef-0", Some(old.clone()), at(3));
    assert_eq!(state(&compute(&mut index, session(&["reef-0"]), at(4)), Completed), reason(False, Reason::Running));
    old.observed_generation = Some(2);
    index.set_runtime("reef-0", Some(old), at(5));
    let computed = compute(&mut index, session(&["reef-0"]), at(6));
    assert_eq!(state(&computed, Completed), reason(True, Reason::LimitReached), "now it has observed it");
}

#[test]
fn a_session_that_expired_before_it_started_is_a_failure() {
    let mut index = ready_nodes(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Expired, 0)), at(31));
    let computed = compute(&mut index, session(&["reef-0"]), at(32));
    assert_eq!(state(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::SessionExpired));
    assert_eq!(state(&computed, Completed), reason(True, Reason::DurationElapsed));
    assert_eq!(computed.status.results, None);
}

#[test]
fn a_session_whose_pods_are_on_unselected_nodes_says_so() {
    let computed = compute(&mut ready_nodes(2), session(&["islet-7"]), at(10));
    assert_eq!(state(&computed, Ready), reason(False, Reason::NoMatchingNodes));
    let message = condition(&computed, Degraded).message;
    assert!(message.contains("the stack's nodeSelector and tolerations"), "{message}");
}

#[test]
fn a_session_in_an_excluded_namespace_says_so() {
    let outside = session_with(|session| (session.nodes, session.out_of_scope) = (Some(BTreeSet::new()), true));
    let computed = compute(&mut ready_nodes(2), outside, at(10));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::NoMatchingPods));
    let message = condition(&computed, Degraded).message;
    assert!(message.contains("spec.application.namespaceSelector leaves out namespace payments"), "{message}");
}

#[test]
fn a_full_node_fails_the_session_with_node_full() {
    let crowded = session_with(|session| _ = session.full_nodes.insert("reef-0".into()));
    let computed = compute(&mut ready_nodes(1), crowded, at(10));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::NodeFull));
}

#[test]
fn a_completed_session_keeps_its_status() {
    let mut index = ready_nodes(1);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Completed, 100)), at(30));
    let ended = compute(&mut index, session(&["reef-0"]), at(31));
    assert_eq!(state(&ended, Completed), reason(True, Reason::DurationElapsed));
    index.set_agent("pod-0", None, at(40));
    index.set_runtime("reef-0", None, at(41));
    index.set_node("reef-0", None);
    let key = ResourceKey::from(&session(&[]).source);
    index.apply_report(ControllerReport::Resource(Box::new(session(&[]))));
    let later = index.compute(&key, &ended.status, at(500)).unwrap();
    assert_eq!(later, ComputedStatus { status: ended.status, recompute_at: None, silent_agents: Vec::new() });
}

#[test]
fn a_running_session_keeps_its_status_after_a_restart() {
    let mut before = ready_nodes(1);
    before.set_runtime("reef-0", Some(with_session(SessionState::Running, 7)), at(1));
    let last = compute(&mut before, session(&["reef-0"]), at(2)).status;
    assert_eq!(last.results.as_ref().map(|results| results.samples), Some(7));
    let mut index = index();
    let key = ResourceKey::from(&session(&[]).source);
    index.apply_report(ControllerReport::Resource(Box::new(session(&["reef-0"]))));
    let computed = index.compute(&key, &last, at(3)).unwrap();
    assert_eq!(computed, ComputedStatus { status: last, recompute_at: Some(at(30)), silent_agents: Vec::new() });
    let new = index.compute(&key, &UserStatus::default(), at(3)).unwrap();
    assert_eq!(new.status.started_at, Some(at(0)), "the start of a new one is written anyway");
}

#[test]
fn an_ended_session_does_not_depend_on_the_agent() {
    let mut index = ready_nodes(2);
    compute(&mut index, session(&["reef-0", "reef-1"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Completed, 100)), at(20));
    index.set_runtime("reef-1", Some(with_session(SessionState::Running, 100)), at(20));
    index.set_agent("pod-0", None, at(20));
    let computed = compute(&mut index, session(&["reef-0", "reef-1"]), at(300));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
}

#[test]
fn a_changed_count_makes_only_its_session_dirty() {
    let mut index = ready_nodes(1);
    let mut other = session(&["reef-0"]);
    other.source.name = "other".into();
    if let Requested::Session(session) = &mut other.requested {
        session.name = "appprofile.payments.other".into();
    }
    let policy = status_input(source(SourceKind::TracingPolicy, "watch-ink"), Requested::Nothing);
    for input in [session(&["reef-0"]), other, policy] {
        index.apply_report(ControllerReport::Resource(Box::new(input)));
    }
    index.set_runtime("reef-0", Some(with_session(SessionState::Running, 1)), at(5));
    assert_eq!(index.take_dirty().len(), 3, "the spec has changed too");
    index.set_runtime("reef-0", Some(with_session(SessionState::Running, 2)), at(6));
    assert_eq!(index.take_dirty(), BTreeSet::from([ResourceKey::from(&session(&[]).source)]));
    let no_status = RuntimeFact { sessions: Vec::new(), ..with_session(SessionState::Running, 2) };
    index.set_runtime("reef-0", Some(no_status), at(7));
    assert_eq!(index.take_dirty().len(), 1);
}

#[test]
fn sums_of_nodes_stay_within_the_schema() {
    let mut index = ready_nodes(2);
    compute(&mut index, session(&["reef-0", "reef-1"]), at(1));
    for (node, records, lost) in [("reef-0", (1 << 53) - 1, i64::MAX), ("reef-1", (1 << 53) - 1, -7)] {
        let mut fact = with_session(SessionState::Running, records);
        fact.sessions[0].lost = lost;
        index.set_runtime(node, Some(fact), at(20));
    }
    let results = compute(&mut index, session(&["reef-0", "reef-1"]), at(21)).status.results.unwrap();
    assert_eq!((results.samples, results.lost), (bounds::MAX_COUNT, bounds::MAX_COUNT));
    assert_eq!(bounds::violations(&results, "status.results"), []);
}

#[test]
fn a_node_without_the_session_says_nothing_about_it() {
    let mut index = ready_nodes(2);
    compute(&mut index, session(&["reef-0"]), at(1));
    index.set_runtime("reef-0", Some(with_session(SessionState::Running, 10)), at(20));
    let claim = RuntimeFact { desired_sessions: Vec::new(), ..with_session(SessionState::Completed, 999) };
    index.set_runtime("reef-1", Some(claim.clone()), at(20));
    index.set_runtime("no-such-node", Some(claim), at(20));
    let computed = compute(&mut index, session(&["reef-0"]), at(21));
    assert_eq!(computed.status.results.clone().unwrap().samples, 10);
    assert_eq!(state(&computed, Completed), reason(False, Reason::Running));
}
