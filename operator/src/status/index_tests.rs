//! What the index answers: events in, statuses out, no API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use trilobite_crds::{
    Condition, Reason, Refusal,
    condition::{ConditionStatus, ConditionType, find},
    node::{NodeProblem, ProfileRef, Source, SourceKind},
};

use super::{
    Asked, Key, Report, Rollout, Wanted, Written,
    facts::{AgentFact, NodeFact, PodsRefused, RuntimeFact},
    index::{Computed, Index},
    node::Patience,
};
use crate::selection::Fleet;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(1_000_000 + second)).unwrap()
}

fn profile(digest: &str) -> ProfileRef {
    ProfileRef { name: format!("default-default-{digest}"), digest: digest.into() }
}

pub(super) fn source(kind: SourceKind, name: &str) -> Source {
    let namespace = kind.is_namespaced().then(|| "payments".to_owned());
    Source { kind, namespace, name: name.into(), generation: 4 }
}

pub(super) fn asked(source: Source, wanted: Wanted) -> Asked {
    let uid = format!("uid-of-{}", source.name);
    Asked { source, uid, standing: Written::default(), refusals: Vec::new(), suspended: false, wanted }
}

fn stack() -> Asked {
    asked(source(SourceKind::ObservabilityStack, "default"), Wanted::Profile(profile("new")))
}

fn policy(name: &str) -> Asked {
    let wanted = Wanted::Part { profile: profile("new"), digest: format!("part-of-{name}") };
    asked(source(SourceKind::TracingPolicy, name), wanted)
}

fn fleet() -> Report {
    let profiles = BTreeMap::from([
        ("old".to_owned(), BTreeSet::from(["part-of-watch-ink".to_owned()])),
        ("new".to_owned(), BTreeSet::from(["part-of-watch-ink".to_owned(), "part-of-watch-kelp".to_owned()])),
    ]);
    let fleet = Fleet { since: Some(at(0)), ..Fleet::default() };
    Report::Fleet { fleet, template: None, profiles, rollout: Rollout::Moving }
}

fn agent(node: &str, ready: bool) -> AgentFact {
    AgentFact { node: node.into(), ready, running: true, since: Some(at(0)), waiting: None, template: None }
}

/// A node that has answered.
pub(super) fn applied(digest: &str) -> RuntimeFact {
    RuntimeFact {
        generation: 1,
        told: Some(profile(digest)),
        observed: Some(1),
        applied: Some(profile(digest)),
        kernel: "6.12.0".into(),
        ..RuntimeFact::default()
    }
}

pub(super) fn index() -> Index {
    Index::new(Patience { node: Duration::from_secs(60), agent: Duration::from_secs(30) }, "ink-system")
}

/// Nodes reef-0 to reef-N, all of them with what is new in force.
pub(super) fn nodes_that_are_ready(count: usize) -> Index {
    let mut index = index();
    index.report(fleet());
    for number in 0..count {
        let node = format!("reef-{number}");
        index.node(&node, Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
        index.agent(&format!("pod-{number}"), Some(agent(&node, true)), at(0));
        index.runtime(&node, Some(applied("new")), at(0));
    }
    index
}

pub(super) fn compute(index: &mut Index, asked: Asked, now: Timestamp) -> Computed {
    let key = Key::from(&asked.source);
    index.report(Report::Asked(Box::new(asked)));
    index.compute(&key, &Written::default(), now).unwrap()
}

pub(super) fn condition(computed: &Computed, r#type: ConditionType) -> Condition {
    find(&computed.written.common.conditions, r#type).cloned().unwrap()
}

pub(super) fn says(computed: &Computed, r#type: ConditionType) -> (ConditionStatus, String) {
    let condition = condition(computed, r#type);
    (condition.status, condition.reason)
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Degraded, Programmed, Ready, Reconciling, Stalled};

pub(super) fn reason(status: ConditionStatus, reason: Reason) -> (ConditionStatus, String) {
    (status, reason.as_str().into())
}

#[test]
fn with_everything_in_force_a_stack_is_ready_on_all_nodes() {
    let computed = compute(&mut nodes_that_are_ready(2), stack(), at(100));
    assert_eq!(says(&computed, Ready), reason(True, Reason::Ready));
    assert_eq!(says(&computed, Programmed), reason(True, Reason::AllNodesApplied));
    assert_eq!(computed.written.common.ready_nodes.as_deref(), Some("2/2"));
    assert_eq!(computed.written.common.observed_generation, 4);
    assert_eq!(computed.next, None);
}

#[test]
fn one_bad_node_of_two_is_too_many_and_one_of_two_hundred_is_not() {
    for (count, ready) in [(2, reason(False, Reason::TooManyNodesFailing)), (200, reason(True, Reason::Ready))] {
        let mut index = nodes_that_are_ready(count);
        index.agent("pod-1", Some(agent("reef-1", false)), at(10));
        let computed = compute(&mut index, stack(), at(100));
        assert_eq!(says(&computed, Ready), ready);
        assert_eq!(says(&computed, Degraded), reason(True, Reason::AgentNotReady));
        let message = condition(&computed, Degraded).message;
        assert!(message.starts_with("AgentNotReady on 1 node (kernel 6.12.0), as reef-1: "), "{message}");
    }
}

#[test]
fn an_agent_that_has_just_gone_is_awaited_and_then_it_is_silent() {
    let mut index = nodes_that_are_ready(2);
    index.agent("pod-1", None, at(100));
    let computed = compute(&mut index, stack(), at(110));
    assert_eq!(says(&computed, Ready), reason(False, Reason::Progressing));
    assert_eq!(computed.next, Some(at(130)));
    let computed = compute(&mut index, stack(), at(130));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn a_node_that_was_told_and_does_not_answer_is_silent_after_a_while() {
    let mut index = nodes_that_are_ready(1);
    let told = RuntimeFact { generation: 2, told: Some(profile("new")), ..applied("old") };
    index.runtime("reef-0", Some(told), at(200));
    assert_eq!(says(&compute(&mut index, stack(), at(210)), Programmed), reason(False, Reason::RollingOut));
    let computed = compute(&mut index, stack(), at(230));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn a_policy_whose_part_is_in_the_old_profile_too_stays_ready_during_a_rollout() {
    let mut index = nodes_that_are_ready(2);
    index.runtime("reef-1", Some(applied("old")), at(50));
    let old = compute(&mut index, policy("watch-ink"), at(60));
    assert_eq!(says(&old, Ready), reason(True, Reason::Ready));
    let new = compute(&mut index, policy("watch-kelp"), at(60));
    assert_eq!(says(&new, Ready), reason(False, Reason::Progressing));
    assert_eq!(says(&new, Programmed), reason(False, Reason::RollingOut));
    assert_eq!(says(&new, Reconciling), reason(True, Reason::Progressing));
}

#[test]
fn a_problem_is_its_policys_own_matter_and_only_for_its_generation() {
    let mut index = nodes_that_are_ready(2);
    let problem = |generation| NodeProblem {
        source: Source { generation, ..source(SourceKind::TracingPolicy, "watch-ink") },
        reason: "NoSuchTracepoint".into(),
        field: "spec.tracepoints[0]".into(),
        message: "tracepoint sched/ink does not exist in this kernel".into(),
    };
    for node in ["reef-0", "reef-1"] {
        index.runtime(node, Some(RuntimeFact { problems: vec![problem(4)], ..applied("new") }), at(10));
    }
    let computed = compute(&mut index, policy("watch-ink"), at(60));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::NoSuchTracepoint));
    assert_eq!(says(&computed, Programmed), reason(True, Reason::AllNodesApplied));
    let failures = &computed.written.common.failures;
    assert_eq!((failures.len(), failures[0].count, failures[0].example_node.as_str()), (1, 2, "reef-0"));
    assert_eq!(says(&compute(&mut index, policy("watch-kelp"), at(60)), Ready), reason(True, Reason::Ready));
    assert_eq!(says(&compute(&mut index, stack(), at(60)), Ready), reason(True, Reason::Ready));
    for node in ["reef-0", "reef-1"] {
        index.runtime(node, Some(RuntimeFact { problems: vec![problem(3)], ..applied("new") }), at(70));
    }
    assert_eq!(says(&compute(&mut index, policy("watch-ink"), at(80)), Ready), reason(True, Reason::Ready));
}

#[test]
fn what_pod_security_forbids_names_the_label_to_set_and_a_pod_that_comes_ends_it() {
    let mut index = nodes_that_are_ready(0);
    index.node("reef-0", Some(NodeFact::default()));
    index.pods_refused(PodsRefused::BySecurity("\"baseline:latest\": host namespaces".into()), at(20));
    let computed = compute(&mut index, stack(), at(21));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::PodSecurityForbidden));
    let message = &computed.written.common.failures[0].message;
    assert!(message.contains("pod-security.kubernetes.io/enforce=privileged"), "{message}");
    index.agent("pod-0", Some(AgentFact { since: Some(at(30)), ..agent("reef-0", true) }), at(30));
    index.pods_refused(PodsRefused::BySecurity("\"baseline:latest\": host namespaces".into()), at(20));
    assert_ne!(says(&compute(&mut index, stack(), at(31)), Degraded), reason(True, Reason::PodSecurityForbidden));
}

#[test]
fn what_else_keeps_an_agents_pod_away_is_told_when_patience_ends() {
    let mut index = nodes_that_are_ready(0);
    index.node("reef-0", Some(NodeFact::default()));
    let quota = "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]";
    index.pods_refused(PodsRefused::Otherwise(quota.into()), at(20));
    index.pods_refused(PodsRefused::Otherwise("timed out".into()), at(19));
    assert_eq!(says(&compute(&mut index, stack(), at(21)), Ready), reason(False, Reason::Progressing));
    let computed = compute(&mut index, stack(), at(60));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::AgentSilent));
    let message = &computed.written.common.failures[0].message;
    assert!(message.contains("insufficient quota") && message.contains("node.priorityQuota"), "{message}");
}

#[test]
fn a_node_that_joins_is_counted_after_its_grace_or_as_soon_as_it_is_ready() {
    let mut index = nodes_that_are_ready(2);
    index.node("reef-9", Some(NodeFact { created: Some(at(300)), ..NodeFact::default() }));
    let counts = |computed: &Computed| {
        let nodes = computed.written.common.nodes.clone().unwrap();
        (nodes.desired, nodes.excluded, nodes.ready)
    };
    let young = compute(&mut index, stack(), at(310));
    assert_eq!((counts(&young), young.next), ((2, 1, 2), Some(at(360))));
    assert_eq!(counts(&compute(&mut index, stack(), at(360))), (3, 0, 2));
    index.agent("pod-9", Some(agent("reef-9", true)), at(311));
    index.runtime("reef-9", Some(applied("new")), at(311));
    assert_eq!(counts(&compute(&mut index, stack(), at(312))), (3, 0, 3));
}

#[test]
fn a_node_that_is_being_deleted_is_not_counted() {
    let mut index = nodes_that_are_ready(2);
    index.node("reef-1", Some(NodeFact { deleting: true, ..NodeFact::default() }));
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(computed.written.common.ready_nodes.as_deref(), Some("1/1"));
}

#[test]
fn without_a_matching_node_a_stack_is_ready_and_degraded() {
    let computed = compute(&mut nodes_that_are_ready(0), stack(), at(100));
    assert_eq!(says(&computed, Ready), reason(True, Reason::NoMatchingNodes));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::NoMatchingNodes));
    assert_eq!(says(&computed, Programmed), reason(False, Reason::NoMatchingNodes));
    assert_eq!(computed.written.common.ready_nodes.as_deref(), Some("0/0"));
}

#[test]
fn a_refused_policy_says_why_and_that_nothing_will_move() {
    let mut refused = policy("watch-ink");
    refused.wanted = Wanted::Nothing;
    let why =
        |field: &str| Refusal::new(&refused.source, Reason::Unsupported, field, format!("{field} is not carried out"));
    refused.refusals = vec![why("spec.kprobes"), why("spec.lists")];
    let computed = compute(&mut nodes_that_are_ready(2), refused, at(100));
    assert_eq!(says(&computed, Accepted), reason(False, Reason::Unsupported));
    assert_eq!(condition(&computed, Accepted).message, "spec.kprobes is not carried out (and 1 more)");
    assert_eq!(says(&computed, Ready), reason(False, Reason::NotAccepted));
    assert_eq!(says(&computed, Stalled), reason(True, Reason::Unsupported));
    assert_eq!(computed.written.common.observed_generation, 4);
    assert_eq!(computed.written.common.nodes, None);
}

#[test]
fn a_policy_that_is_not_planned_yet_is_unknown() {
    let pending = Asked { wanted: Wanted::Nothing, ..policy("watch-ink") };
    let computed = compute(&mut nodes_that_are_ready(2), pending, at(100));
    assert_eq!(says(&computed, Ready), reason(Unknown, Reason::Pending));
}

#[test]
fn a_halted_rollout_stalls_the_stack() {
    let mut index = nodes_that_are_ready(20);
    let Report::Fleet { fleet, template, profiles, .. } = fleet() else { unreachable!() };
    index.report(Report::Fleet { fleet, template, profiles, rollout: Rollout::Halted { failing: 3, told: 10 } });
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(says(&computed, Stalled), reason(True, Reason::RolloutHalted));
    assert_eq!(says(&computed, Programmed), reason(False, Reason::RolloutHalted));
}

#[test]
fn a_halted_rollout_stalls_no_policy_that_was_in_force_before_it() {
    let mut index = nodes_that_are_ready(2);
    index.runtime("reef-1", Some(applied("old")), at(50));
    let Report::Fleet { fleet, template, profiles, .. } = fleet() else { unreachable!() };
    index.report(Report::Fleet { fleet, template, profiles, rollout: Rollout::Halted { failing: 3, told: 10 } });
    let (old, new) = (policy("watch-ink"), policy("watch-kelp"));
    assert_eq!(find(&compute(&mut index, old.clone(), at(60)).written.common.conditions, Stalled), None);
    assert_eq!(says(&compute(&mut index, old, at(60)), Programmed), reason(True, Reason::AllNodesApplied));
    assert_eq!(says(&compute(&mut index, new, at(60)), Stalled), reason(True, Reason::RolloutHalted));
}

#[test]
fn trouble_of_the_operators_own_shows_until_it_is_over() {
    let mut index = nodes_that_are_ready(1);
    let key = Key::from(&stack().source);
    index.report(Report::Asked(Box::new(stack())));
    let message = "applying DaemonSet trilobite-node: forbidden".to_owned();
    index.report(Report::Trouble { key: key.clone(), generation: 5, reason: Reason::AccessDenied, message });
    let computed = index.compute(&key, &Written::default(), at(100)).unwrap();
    assert_eq!(says(&computed, Stalled), reason(True, Reason::AccessDenied));
    assert_eq!(computed.written.common.observed_generation, 5, "the generation that met it");
    let computed = compute(&mut index, stack(), at(101));
    assert_eq!(find(&computed.written.common.conditions, Stalled), None);
}

#[test]
fn the_order_of_events_does_not_change_the_answer() {
    let forward = compute(&mut nodes_that_are_ready(3), stack(), at(100));
    let mut index = index();
    index.report(Report::Asked(Box::new(stack())));
    for number in (0..3).rev() {
        let node = format!("reef-{number}");
        index.runtime(&node, Some(applied("new")), at(0));
        index.agent(&format!("pod-{number}"), Some(agent(&node, true)), at(0));
        index.node(&node, Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
    }
    index.report(fleet());
    let backward = index.compute(&Key::from(&stack().source), &Written::default(), at(100)).unwrap();
    assert_eq!(forward, backward);
}

#[test]
fn an_event_that_changes_nothing_makes_nothing_dirty() {
    let mut index = nodes_that_are_ready(1);
    index.report(Report::Asked(Box::new(stack())));
    assert!(index.is_dirty());
    index.take_dirty();
    assert!(!index.runtime("reef-0", Some(applied("new")), at(5)));
    index.agent("pod-0", Some(agent("reef-0", true)), at(5));
    index.report(fleet());
    assert!(!index.is_dirty());
}

#[test]
fn a_part_that_a_node_refused_is_not_ready_though_the_node_had_no_room_for_the_reason() {
    let mut index = nodes_that_are_ready(1);
    let part = |name: &str| format!("{name}{}", "0".repeat(64 - name.len()));
    let long = |name: &str| {
        let wanted = Wanted::Part { profile: profile("new"), digest: part(name) };
        asked(source(SourceKind::TracingPolicy, name), wanted)
    };
    let refused = vec![part("aa")[..16].to_owned()];
    index.runtime("reef-0", Some(RuntimeFact { refused, ..applied("new") }), at(10));
    let computed = compute(&mut index, long("aa"), at(60));
    assert_eq!(says(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::LoadFailed));
    assert_eq!(says(&compute(&mut index, long("bb"), at(60)), Ready), reason(True, Reason::Ready));
}

#[test]
fn what_is_wrong_with_a_whole_node_reaches_the_stack_whatever_its_generation() {
    let mut index = nodes_that_are_ready(2);
    let problem = NodeProblem {
        source: Source { generation: 0, ..source(SourceKind::ObservabilityStack, "default") },
        reason: "ExportFailed".into(),
        field: String::new(),
        message: "events could not be written to /var/lib/ink; see whether its disk is full".into(),
    };
    index.runtime("reef-1", Some(RuntimeFact { problems: vec![problem], ..applied("new") }), at(10));
    assert_eq!(says(&compute(&mut index, stack(), at(60)), Degraded), reason(True, Reason::ExportFailed));
}

#[test]
fn of_a_node_that_is_not_heard_of_nobody_says_that_its_agent_runs() {
    let mut index = nodes_that_are_ready(2);
    index.node("reef-1", Some(NodeFact { created: Some(at(-500)), silent: true, ..NodeFact::default() }));
    index.agent("pod-1", Some(AgentFact { running: true, ..agent("reef-1", false) }), at(10));
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::AgentSilent));
    assert!(condition(&computed, Degraded).message.ends_with("see kubectl describe node reef-1"));
}

#[test]
fn while_agents_run_from_an_older_template_the_stack_is_not_ready_and_policies_are() {
    let mut index = nodes_that_are_ready(2);
    let Report::Fleet { fleet, profiles, rollout, .. } = fleet() else { unreachable!() };
    index.report(Report::Fleet { fleet, template: Some("of-now".into()), profiles, rollout });
    for (number, of) in [(0, "of-now"), (1, "of-then")] {
        let agent = AgentFact { template: Some(of.into()), ..agent(&format!("reef-{number}"), true) };
        index.agent(&format!("pod-{number}"), Some(agent), at(10));
    }
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(says(&computed, Ready), reason(False, Reason::Progressing));
    assert_eq!(says(&computed, Programmed), reason(False, Reason::RollingOut));
    assert_eq!(says(&compute(&mut index, policy("watch-ink"), at(100)), Ready), reason(True, Reason::Ready));
}

#[test]
fn what_another_object_can_heal_is_waited_for_and_does_not_stall() {
    let mut refused = policy("watch-ink");
    refused.wanted = Wanted::Nothing;
    refused.refusals = vec![Refusal::new(&refused.source, Reason::NoStack, "", "there is no stack; apply one")];
    let computed = compute(&mut nodes_that_are_ready(2), refused, at(100));
    assert_eq!(says(&computed, Reconciling), reason(True, Reason::NoStack));
    assert_eq!(find(&computed.written.common.conditions, Stalled), None);
}

#[test]
fn what_is_refused_of_a_stack_does_not_hide_the_node_that_fails() {
    let mut index = nodes_that_are_ready(2);
    index.agent("pod-1", Some(agent("reef-1", false)), at(10));
    let mut half = stack();
    half.refusals = vec![Refusal::new(&half.source, Reason::Unsupported, "spec.x", "spec.x is not carried out")];
    let computed = compute(&mut index, half, at(100));
    assert_eq!(says(&computed, Accepted), reason(False, Reason::Unsupported));
    assert_eq!(says(&computed, Degraded), reason(True, Reason::AgentNotReady));
    let summary = computed.written.common.summary.unwrap();
    assert!(summary.starts_with("spec.x is not carried out; 1 of 2 nodes ready"), "{summary}");
}

#[test]
fn an_operator_that_has_just_come_does_not_begin_to_wait_anew() {
    let mut index = index();
    index.report(fleet());
    index.node("reef-0", Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
    index.agent("pod-0", Some(agent("reef-0", true)), at(1000));
    let told = RuntimeFact { told: Some(profile("new")), told_at: Some(at(50)), ..applied("old") };
    index.runtime("reef-0", Some(told), at(1000));
    assert_eq!(says(&compute(&mut index, stack(), at(1001)), Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn controllers_hear_of_what_they_act_upon_and_not_of_counts() {
    let mut index = nodes_that_are_ready(1);
    let problem = NodeProblem {
        source: source(SourceKind::TracingPolicy, "watch-ink"),
        reason: "LoadFailed".into(),
        field: String::new(),
        message: String::new(),
    };
    index.report(Report::Asked(Box::new(stack())));
    index.take_dirty();
    assert!(!index.runtime("reef-0", Some(RuntimeFact { problems: vec![problem], ..applied("new") }), at(5)));
    assert!(index.is_dirty(), "statuses hear of it");
    assert!(index.runtime("reef-0", Some(RuntimeFact { generation: 2, ..applied("new") }), at(6)));
    assert!(index.runtime("reef-0", None, at(7)));
}
