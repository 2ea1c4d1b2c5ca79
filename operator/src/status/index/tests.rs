//! The index: events in, statuses out, without an API server.

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

use super::{ComputedStatus, Index};
use crate::{
    resource_key::ResourceKey,
    stack_nodes::NodeSelection,
    status::{
        controller_report::{ControllerReport, Requested, Rollout, StatusInput},
        facts::{AgentFact, NodeFact, OutOfMemory, PodsRefused, RuntimeFact},
        node_state::GracePeriods,
        user_status::UserStatus,
    },
};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(1_000_000 + second)).unwrap()
}

pub(super) fn profile(digest: &str) -> ProfileRef {
    ProfileRef { name: format!("default-default-{digest}"), digest: digest.into() }
}

pub(super) fn source(kind: SourceKind, name: &str) -> Source {
    let namespace = kind.is_namespaced().then(|| "payments".to_owned());
    Source { kind, namespace, name: name.into(), generation: 4 }
}

pub(super) fn status_input(source: Source, requested: Requested) -> StatusInput {
    let uid = format!("uid-of-{}", source.name);
    StatusInput {
        source,
        uid,
        current_status: UserStatus::default(),
        refusals: Vec::new(),
        suspended: false,
        asks_for_requests: false,
        standing: None,
        requested,
    }
}

pub(super) fn stack() -> StatusInput {
    status_input(source(SourceKind::ObservabilityStack, "default"), Requested::Profile(profile("new")))
}

pub(super) fn policy(name: &str) -> StatusInput {
    status_input(source(SourceKind::TracingPolicy, name), part(format!("part-of-{name}")))
}

fn part(digest: String) -> Requested {
    Requested::Part { profile: profile("new"), digest, out_of_scope: false, dry_run: false }
}

pub(super) fn stack_report() -> ControllerReport {
    let profiles = BTreeMap::from([
        ("old".to_owned(), BTreeSet::from(["part-of-watch-ink".to_owned()])),
        ("new".to_owned(), BTreeSet::from(["part-of-watch-ink".to_owned(), "part-of-watch-kelp".to_owned()])),
    ]);
    let selection = NodeSelection { stack_created: Some(at(0)), ..NodeSelection::default() };
    ControllerReport::Stack { selection, template: None, profiles, rollout: Rollout::Progressing }
}

/// Changes the stack's nodeSelector to `disk: DISK`.
pub(super) fn select_nodes(index: &mut Index, disk: &str) {
    let ControllerReport::Stack { selection, template, profiles, rollout } = stack_report() else { unreachable!() };
    let node_selector = BTreeMap::from([("disk".to_owned(), disk.to_owned())]);
    let selection = NodeSelection { node_selector, ..selection };
    index.apply_report(ControllerReport::Stack { selection, template, profiles, rollout });
}

pub(super) fn problem(kind: SourceKind, name: &str, reason: &str) -> NodeProblem {
    NodeProblem { source: source(kind, name), reason: reason.into(), field: String::new(), message: "see docs".into() }
}

pub(super) fn agent(node: &str, ready: bool) -> AgentFact {
    AgentFact { node: node.into(), ready, running: true, since: Some(at(0)), ..AgentFact::default() }
}

/// A NodeRuntime whose agent has applied its profile.
pub(super) fn applied(digest: &str) -> RuntimeFact {
    RuntimeFact {
        generation: 1,
        desired_profile: Some(profile(digest)),
        observed_generation: Some(1),
        applied_profile: Some(profile(digest)),
        kernel: "6.12.0".into(),
        ..RuntimeFact::default()
    }
}

pub(super) fn index() -> Index {
    Index::new(GracePeriods { node: Duration::from_secs(60), agent: Duration::from_secs(30) }, "ink-system")
}

/// Nodes reef-0, reef-1, ..., all of which have applied the profile `new`.
pub(super) fn ready_nodes(count: usize) -> Index {
    let mut index = index();
    index.apply_report(stack_report());
    for number in 0..count {
        let node = format!("reef-{number}");
        index.set_node(&node, Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
        index.set_agent(&format!("pod-{number}"), Some(agent(&node, true)), at(0));
        index.set_runtime(&node, Some(applied("new")), at(0));
    }
    index
}

pub(super) fn compute(index: &mut Index, input: StatusInput, now: Timestamp) -> ComputedStatus {
    let key = ResourceKey::from(&input.source);
    index.apply_report(ControllerReport::Resource(Box::new(input)));
    index.compute(&key, &UserStatus::default(), now).unwrap()
}

pub(super) fn condition(computed: &ComputedStatus, r#type: ConditionType) -> Condition {
    find(&computed.status.common.conditions, r#type).cloned().unwrap()
}

pub(super) fn state(computed: &ComputedStatus, r#type: ConditionType) -> (ConditionStatus, String) {
    let condition = condition(computed, r#type);
    (condition.status, condition.reason)
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Degraded, Programmed, Ready, Reconciling, Stalled};

pub(super) fn reason(status: ConditionStatus, reason: Reason) -> (ConditionStatus, String) {
    (status, reason.as_str().into())
}

#[test]
fn a_stack_that_all_nodes_apply_is_ready() {
    let computed = compute(&mut ready_nodes(2), stack(), at(100));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    assert_eq!(state(&computed, Programmed), reason(True, Reason::AllNodesApplied));
    assert_eq!(computed.status.common.ready_nodes.as_deref(), Some("2/2"));
    assert_eq!(computed.status.common.observed_generation, 4);
    assert_eq!(computed.recompute_at, Some(at(400)), "the time of the status is renewed");
}

#[test]
fn one_failing_node_of_two_is_too_many_and_one_of_200_is_not() {
    for (count, ready) in [(2, reason(False, Reason::TooManyNodesFailing)), (200, reason(True, Reason::Ready))] {
        let mut index = ready_nodes(count);
        index.set_agent("pod-1", Some(agent("reef-1", false)), at(10));
        let computed = compute(&mut index, stack(), at(100));
        assert_eq!(state(&computed, Ready), ready);
        assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentNotReady));
        let message = condition(&computed, Degraded).message;
        assert!(message.starts_with("AgentNotReady on 1 node (kernel 6.12.0), e.g. reef-1: "), "{message}");
    }
}

#[test]
fn a_missing_agent_is_silent_after_its_grace_period() {
    let mut index = ready_nodes(2);
    index.set_agent("pod-1", None, at(100));
    let computed = compute(&mut index, stack(), at(110));
    assert_eq!(state(&computed, Ready), reason(False, Reason::Progressing));
    assert_eq!(computed.recompute_at, Some(at(130)));
    let computed = compute(&mut index, stack(), at(130));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn an_agent_that_does_not_report_is_silent_after_its_grace_period() {
    let mut index = ready_nodes(1);
    let runtime = RuntimeFact { generation: 2, desired_profile: Some(profile("new")), ..applied("old") };
    index.set_runtime("reef-0", Some(runtime), at(200));
    assert_eq!(state(&compute(&mut index, stack(), at(210)), Programmed), reason(False, Reason::RollingOut));
    let computed = compute(&mut index, stack(), at(230));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn a_policy_in_the_old_profile_too_stays_ready_during_a_rollout() {
    let mut index = ready_nodes(2);
    index.set_runtime("reef-1", Some(applied("old")), at(50));
    let old = compute(&mut index, policy("watch-ink"), at(60));
    assert_eq!(state(&old, Ready), reason(True, Reason::Ready));
    let new = compute(&mut index, policy("watch-kelp"), at(60));
    assert_eq!(state(&new, Ready), reason(False, Reason::Progressing));
    assert_eq!(state(&new, Programmed), reason(False, Reason::RollingOut));
    assert_eq!(state(&new, Reconciling), reason(True, Reason::Progressing));
}

#[test]
fn a_problem_concerns_only_its_policy_and_generation() {
    let mut index = ready_nodes(2);
    let problem = |generation| NodeProblem {
        source: Source { generation, ..source(SourceKind::TracingPolicy, "watch-ink") },
        reason: "NoSuchTracepoint".into(),
        field: "spec.tracepoints[0]".into(),
        message: "tracepoint sched/ink does not exist in this kernel".into(),
    };
    for node in ["reef-0", "reef-1"] {
        index.set_runtime(node, Some(RuntimeFact { problems: vec![problem(4)], ..applied("new") }), at(10));
    }
    let computed = compute(&mut index, policy("watch-ink"), at(60));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::NoSuchTracepoint));
    assert_eq!(state(&computed, Programmed), reason(True, Reason::AllNodesApplied));
    let failures = &computed.status.common.failures;
    assert_eq!((failures.len(), failures[0].count, failures[0].example_node.as_str()), (1, 2, "reef-0"));
    assert_eq!(state(&compute(&mut index, policy("watch-kelp"), at(60)), Ready), reason(True, Reason::Ready));
    assert_eq!(state(&compute(&mut index, stack(), at(60)), Ready), reason(True, Reason::Ready));
    for node in ["reef-0", "reef-1"] {
        index.set_runtime(node, Some(RuntimeFact { problems: vec![problem(3)], ..applied("new") }), at(70));
    }
    assert_eq!(state(&compute(&mut index, policy("watch-ink"), at(80)), Ready), reason(True, Reason::Ready));
}

#[test]
fn a_pod_security_refusal_names_the_label_and_ends_with_a_new_pod() {
    let mut index = ready_nodes(0);
    index.set_node("reef-0", Some(NodeFact::default()));
    index.set_pods_refused(PodsRefused::BySecurity("\"baseline:latest\": host namespaces".into()), at(20));
    let computed = compute(&mut index, stack(), at(21));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::PodSecurityForbidden));
    let message = &computed.status.common.failures[0].message;
    assert!(message.contains("pod-security.kubernetes.io/enforce=privileged"), "{message}");
    index.set_agent("pod-0", Some(AgentFact { since: Some(at(30)), ..agent("reef-0", true) }), at(30));
    index.set_pods_refused(PodsRefused::BySecurity("\"baseline:latest\": host namespaces".into()), at(20));
    assert_ne!(state(&compute(&mut index, stack(), at(31)), Degraded), reason(True, Reason::PodSecurityForbidden));
}

#[test]
fn other_pod_refusals_are_reported_after_the_grace_period() {
    let mut index = ready_nodes(0);
    index.set_node("reef-0", Some(NodeFact::default()));
    let quota = "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]";
    index.set_pods_refused(PodsRefused::Otherwise(quota.into()), at(20));
    index.set_pods_refused(PodsRefused::Otherwise("timed out".into()), at(19));
    assert_eq!(state(&compute(&mut index, stack(), at(21)), Ready), reason(False, Reason::Progressing));
    let computed = compute(&mut index, stack(), at(60));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
    let message = &computed.status.common.failures[0].message;
    assert!(message.contains("insufficient quota") && message.contains("node.priorityQuota"), "{message}");
}

#[test]
fn a_refused_policy_is_stalled_with_the_reason() {
    let mut refused = policy("watch-ink");
    refused.requested = Requested::Nothing;
    let why =
        |field: &str| Refusal::new(&refused.source, Reason::Unsupported, field, format!("{field} is not supported"));
    let too_long = "a".repeat(250);
    refused.refusals = vec![why("spec.kprobes"), why("spec.lists"), why(&too_long)];
    let computed = compute(&mut ready_nodes(2), refused, at(100));
    assert_eq!(state(&computed, Accepted), reason(False, Reason::Unsupported));
    let message = "spec.kprobes is not supported; spec.lists is not supported (and 1 more)";
    assert_eq!(condition(&computed, Accepted).message, message);
    assert_eq!(state(&computed, Ready), reason(False, Reason::NotAccepted));
    assert_eq!(state(&computed, Stalled), reason(True, Reason::Unsupported));
    assert_eq!(computed.status.common.observed_generation, 4);
    assert_eq!(computed.status.common.nodes, None);
}

#[test]
fn a_policy_that_is_not_planned_yet_has_unknown_readiness() {
    let pending = StatusInput { requested: Requested::Nothing, ..policy("watch-ink") };
    let computed = compute(&mut ready_nodes(2), pending, at(100));
    assert_eq!(state(&computed, Ready), reason(Unknown, Reason::Pending));
}

#[test]
fn a_reconcile_error_is_shown_until_it_is_resolved() {
    let mut index = ready_nodes(1);
    let key = ResourceKey::from(&stack().source);
    index.apply_report(ControllerReport::Resource(Box::new(stack())));
    let message = "applying DaemonSet trilobite-node: forbidden".to_owned();
    index.apply_report(ControllerReport::ReconcileFailed {
        key: key.clone(),
        generation: 5,
        reason: Reason::AccessDenied,
        message,
    });
    let computed = index.compute(&key, &UserStatus::default(), at(100)).unwrap();
    assert_eq!(state(&computed, Stalled), reason(True, Reason::AccessDenied));
    assert_eq!(computed.status.common.observed_generation, 5, "the generation that failed");
    let computed = compute(&mut index, stack(), at(101));
    assert_eq!(find(&computed.status.common.conditions, Stalled), None);
}

#[test]
fn the_order_of_events_does_not_change_the_status() {
    let forward = compute(&mut ready_nodes(3), stack(), at(100));
    let mut index = index();
    index.apply_report(ControllerReport::Resource(Box::new(stack())));
    for number in (0..3).rev() {
        let node = format!("reef-{number}");
        index.set_runtime(&node, Some(applied("new")), at(0));
        index.set_agent(&format!("pod-{number}"), Some(agent(&node, true)), at(0));
        index.set_node(&node, Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
    }
    index.apply_report(stack_report());
    let backward = index.compute(&ResourceKey::from(&stack().source), &UserStatus::default(), at(100)).unwrap();
    assert_eq!(forward, backward);
}

#[test]
fn an_event_without_a_change_makes_nothing_dirty() {
    let mut index = ready_nodes(1);
    index.apply_report(ControllerReport::Resource(Box::new(stack())));
    assert!(index.is_dirty());
    index.take_dirty();
    assert!(!index.set_runtime("reef-0", Some(applied("new")), at(5)));
    index.set_agent("pod-0", Some(agent("reef-0", true)), at(5));
    index.apply_report(stack_report());
    assert!(!index.is_dirty());
}

#[test]
fn a_refused_part_without_a_listed_problem_is_failing() {
    let mut index = ready_nodes(1);
    let digest = |name: &str| format!("{name}{}", "0".repeat(64 - name.len()));
    let long = |name: &str| status_input(source(SourceKind::TracingPolicy, name), part(digest(name)));
    let refused_parts = vec![digest("aa")[..16].to_owned()];
    index.set_runtime("reef-0", Some(RuntimeFact { refused_parts, ..applied("new") }), at(10));
    let computed = compute(&mut index, long("aa"), at(60));
    assert_eq!(state(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::LoadFailed));
    assert_eq!(state(&compute(&mut index, long("bb"), at(60)), Ready), reason(True, Reason::Ready));
}

#[test]
fn node_problems_count_against_the_stack_of_any_generation() {
    let mut index = ready_nodes(2);
    let problem = NodeProblem {
        source: Source { generation: 0, ..source(SourceKind::ObservabilityStack, "default") },
        reason: "ExportFailed".into(),
        field: String::new(),
        message: "events could not be written to /var/lib/ink; see whether its disk is full".into(),
    };
    index.set_runtime("reef-1", Some(RuntimeFact { problems: vec![problem], ..applied("new") }), at(10));
    assert_eq!(state(&compute(&mut index, stack(), at(60)), Degraded), reason(True, Reason::ExportFailed));
}

#[test]
fn the_agent_of_a_silent_node_is_silent_too() {
    let mut index = ready_nodes(2);
    index.set_node("reef-1", Some(NodeFact { created: Some(at(-500)), silent: true, ..NodeFact::default() }));
    index.set_agent("pod-1", Some(AgentFact { running: true, ..agent("reef-1", false) }), at(10));
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
    assert!(condition(&computed, Degraded).message.ends_with("see kubectl describe node reef-1"));
}

#[test]
fn agents_of_an_older_template_affect_the_stack_and_not_policies() {
    let mut index = ready_nodes(2);
    let ControllerReport::Stack { selection, profiles, rollout, .. } = stack_report() else { unreachable!() };
    index.apply_report(ControllerReport::Stack { selection, template: Some("current".into()), profiles, rollout });
    for (number, template) in [(0, "current"), (1, "older")] {
        let agent = AgentFact { template: Some(template.into()), ..agent(&format!("reef-{number}"), true) };
        index.set_agent(&format!("pod-{number}"), Some(agent), at(10));
    }
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(state(&computed, Ready), reason(False, Reason::Progressing));
    assert_eq!(state(&computed, Programmed), reason(False, Reason::RollingOut));
    assert_eq!(state(&compute(&mut index, policy("watch-ink"), at(100)), Ready), reason(True, Reason::Ready));
}

#[test]
fn a_refusal_that_depends_on_another_object_does_not_stall() {
    let mut refused = policy("watch-ink");
    refused.requested = Requested::Nothing;
    refused.refusals = vec![Refusal::new(&refused.source, Reason::NoStack, "", "there is no stack; apply one")];
    let computed = compute(&mut ready_nodes(2), refused, at(100));
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::NoStack));
    assert_eq!(find(&computed.status.common.conditions, Stalled), None);
}

#[test]
fn a_partly_refused_stack_still_shows_failing_nodes() {
    let mut index = ready_nodes(2);
    index.set_agent("pod-1", Some(agent("reef-1", false)), at(10));
    let mut half = stack();
    half.refusals = vec![Refusal::new(&half.source, Reason::Unsupported, "spec.x", "spec.x is not supported")];
    let computed = compute(&mut index, half, at(100));
    assert_eq!(state(&computed, Accepted), reason(False, Reason::Unsupported));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentNotReady));
    let summary = computed.status.common.summary.unwrap();
    assert!(summary.starts_with("spec.x is not supported; 1 of 2 nodes ready"), "{summary}");
}

#[test]
fn a_restart_of_the_operator_does_not_restart_grace_periods() {
    let mut index = index();
    index.apply_report(stack_report());
    index.set_node("reef-0", Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
    index.set_agent("pod-0", Some(agent("reef-0", true)), at(1000));
    let runtime =
        RuntimeFact { desired_profile: Some(profile("new")), spec_written_at: Some(at(50)), ..applied("old") };
    index.set_runtime("reef-0", Some(runtime), at(1000));
    assert_eq!(state(&compute(&mut index, stack(), at(1001)), Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn only_reconciled_fields_trigger_controllers() {
    let mut index = ready_nodes(1);
    let problem = NodeProblem {
        source: source(SourceKind::TracingPolicy, "watch-ink"),
        reason: "LoadFailed".into(),
        field: String::new(),
        message: String::new(),
    };
    index.apply_report(ControllerReport::Resource(Box::new(stack())));
    index.take_dirty();
    assert!(!index.set_runtime("reef-0", Some(RuntimeFact { problems: vec![problem], ..applied("new") }), at(5)));
    assert!(index.is_dirty(), "statuses depend on it");
    assert!(index.set_runtime("reef-0", Some(RuntimeFact { generation: 2, ..applied("new") }), at(6)));
    assert!(index.set_runtime("reef-0", None, at(7)));
}

#[test]
fn the_stacks_status_is_observed_again_every_five_minutes() {
    let mut index = ready_nodes(1);
    let first = compute(&mut index, stack(), at(100));
    assert_eq!((first.status.observed_at, first.recompute_at), (Some(at(100)), Some(at(400))));
    let key = ResourceKey::from(&stack().source);
    let later = |index: &Index, now| index.compute(&key, &first.status, now).unwrap();
    assert_eq!(later(&index, at(399)), first, "nothing is written");
    assert_eq!(later(&index, at(400)).status.observed_at, Some(at(400)));
    index.set_agent("pod-0", None, at(150));
    assert_eq!(later(&index, at(151)).status.observed_at, Some(at(151)), "with the change");
    let policy = compute(&mut index, policy("watch-ink"), at(100));
    assert_eq!((policy.status.observed_at, policy.recompute_at), (None, Some(at(180))));
}

#[test]
fn an_agent_killed_at_its_memory_limit_says_so() {
    let mut index = ready_nodes(2);
    let out_of_memory = Some(OutOfMemory { limit: Some("128Mi".into()) });
    let waiting = Some("CrashLoopBackOff, exit code 137".into());
    index.set_agent("pod-1", Some(AgentFact { out_of_memory, waiting, ..agent("reef-1", false) }), at(10));
    let message = condition(&compute(&mut index, stack(), at(100)), Degraded).message;
    assert!(message.contains("killed at its memory limit of 128Mi (OOMKilled)"), "{message}");
    assert!(message.ends_with("raise spec.runtime.resources.limits.memory in the stack"), "{message}");
}

#[test]
fn only_a_silent_agent_makes_its_node_runtime_unknown() {
    let mut index = ready_nodes(3);
    index.apply_report(ControllerReport::Resource(Box::new(stack())));
    index.set_agent("pod-1", None, at(100));
    index.set_agent("pod-2", Some(agent("reef-2", false)), at(100));
    let silent_agents = |index: &mut Index, now| compute(index, stack(), now).silent_agents;
    assert_eq!(silent_agents(&mut index, at(129)), [], "within the grace period");
    let silent = silent_agents(&mut index, at(130));
    assert_eq!(silent.len(), 1, "an agent that is not ready may still report: {silent:?}");
    assert_eq!((silent[0].node.as_str(), silent[0].observed_generation), ("reef-1", 1));
    assert!(silent[0].message.starts_with("no agent pod on the node"), "{silent:?}");
    index.set_runtime("reef-1", Some(RuntimeFact { ready_unknown: true, ..applied("new") }), at(131));
    assert_eq!(silent_agents(&mut index, at(132)), [], "it is written already");
    // The agent reports again, and falls silent again.
    index.set_runtime("reef-1", Some(applied("new")), at(133));
    let again = compute(&mut index, stack(), at(134));
    assert_eq!(again.silent_agents.len(), 1);
    // Written about a moment ago, or not at all since the API server was away: it is reported again.
    assert_eq!(again.recompute_at, Some(at(144)));
    select_nodes(&mut index, "no-such-disk");
    assert_eq!(silent_agents(&mut index, at(135)), [], "the node is not the stack's");
}

#[test]
fn policy_says_how_many_pods_it_selects_now() {
    let mut index = ready_nodes(2);
    let selecting =
        |pods| RuntimeFact { pods_selected: BTreeMap::from([("part-of-watch-in".to_owned(), pods)]), ..applied("new") };
    for node in ["reef-0", "reef-1"] {
        index.set_runtime(node, Some(selecting(1_200)), at(1));
    }
    let computed = compute(&mut index, policy("watch-ink"), at(2));
    assert_eq!(computed.status.common.pods_selected, Some(2_400));
    assert!(condition(&computed, Ready).message.ends_with("; 2,400 pods are selected now"));
    let other = compute(&mut index, policy("watch-kelp"), at(2));
    assert_eq!(other.status.common.pods_selected, Some(0));
    assert!(condition(&other, Ready).message.ends_with("; no pod is selected now"));
    assert_eq!(compute(&mut index, stack(), at(2)).status.common.pods_selected, None);
    index.take_dirty();
    index.set_runtime("reef-1", Some(selecting(1)), at(3));
    let dirty: Vec<String> = index.take_dirty().into_iter().map(|key| key.name).collect();
    assert_eq!(dirty, ["watch-ink"], "no other resource depends on it");
}

#[test]
fn skipped_node_does_not_count_as_not_ready() {
    let mut index = ready_nodes(2);
    let skips = || RuntimeFact { skipped_parts: vec!["part-of-watch-in".to_owned()], ..applied("new") };
    index.set_runtime("reef-1", Some(skips()), at(1));
    let computed = compute(&mut index, policy("watch-ink"), at(2));
    let counts = computed.status.common.nodes.clone().unwrap();
    assert_eq!((counts.desired, counts.ready, counts.excluded), (1, 1, 1));
    assert_eq!(state(&computed, Ready), (True, "Ready".to_owned()));
    assert_eq!(
        computed.status.common.summary.as_deref(),
        Some("1 of 1 node ready; 1 node skipped by spec.nodeSelector")
    );
    index.set_runtime("reef-0", Some(skips()), at(3));
    let nowhere = compute(&mut index, policy("watch-ink"), at(4));
    assert_eq!(state(&nowhere, Ready), (False, "NoMatchingNodes".to_owned()));
    assert!(condition(&nowhere, Ready).message.starts_with("spec.nodeSelector matches none of the stack's 2 nodes"));
}

#[test]
fn note_on_an_active_policy_is_shown_and_fails_no_node() {
    let mut index = ready_nodes(2);
    let note = |reason: &str| NodeProblem {
        message: "Sigkill lets the call finish".into(),
        ..problem(SourceKind::TracingPolicy, "watch-ink", reason)
    };
    index.set_runtime("reef-1", Some(RuntimeFact { problems: vec![note("SignalIsLate")], ..applied("new") }), at(10));
    let computed = compute(&mut index, policy("watch-ink"), at(60));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    let message = condition(&computed, Ready).message;
    assert!(message.ends_with("; SignalIsLate: Sigkill lets the call finish"), "{message}");
    index.set_runtime("reef-1", Some(RuntimeFact { problems: vec![note("LoadFailed")], ..applied("new") }), at(70));
    assert_eq!(state(&compute(&mut index, policy("watch-ink"), at(80)), Degraded), reason(True, Reason::LoadFailed));
}
