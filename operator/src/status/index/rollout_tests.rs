//! The index: changes that nodes have yet to apply, and failures that do not end by themselves.

use std::collections::BTreeSet;

use jiff::Timestamp;
use trilobite_crds::{
    Reason,
    condition::{
        ConditionStatus::{False, True},
        ConditionType::{Degraded, Programmed, Ready, Reconciling, Stalled},
        find,
    },
    node::{Source, SourceKind},
};

use super::{
    Index,
    tests::{
        applied, at, compute, condition, policy, problem, profile, ready_nodes, reason, stack, stack_report, state,
    },
};
use crate::status::{
    controller_report::{ControllerReport, Requested, Rollout, StatusInput},
    facts::{NodeFact, RuntimeFact},
};

#[test]
fn a_halted_rollout_stalls_the_stack() {
    let mut index = ready_nodes(20);
    let ControllerReport::Stack { selection, template, profiles, .. } = stack_report() else { unreachable!() };
    index.apply_report(ControllerReport::Stack {
        selection,
        template,
        profiles,
        rollout: Rollout::Halted { failing: 3, updated: 10 },
    });
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(state(&computed, Stalled), reason(True, Reason::RolloutHalted));
    assert_eq!(state(&computed, Programmed), reason(False, Reason::RolloutHalted));
}

#[test]
fn a_halted_rollout_does_not_stall_older_policies() {
    let mut index = ready_nodes(2);
    index.set_runtime("reef-1", Some(applied("old")), at(50));
    let ControllerReport::Stack { selection, template, profiles, .. } = stack_report() else { unreachable!() };
    index.apply_report(ControllerReport::Stack {
        selection,
        template,
        profiles,
        rollout: Rollout::Halted { failing: 3, updated: 10 },
    });
    let (old, new) = (policy("watch-ink"), policy("watch-kelp"));
    assert_eq!(find(&compute(&mut index, old.clone(), at(60)).status.common.conditions, Stalled), None);
    assert_eq!(state(&compute(&mut index, old, at(60)), Programmed), reason(True, Reason::AllNodesApplied));
    assert_eq!(state(&compute(&mut index, new, at(60)), Stalled), reason(True, Reason::RolloutHalted));
}

#[test]
fn a_policy_that_fails_for_good_on_every_node_is_stalled() {
    let mut index = ready_nodes(2);
    let refused = || vec![problem(SourceKind::TracingPolicy, "watch-ink", "NoSuchTracepoint")];
    index.set_runtime("reef-0", Some(RuntimeFact { problems: refused(), ..applied("new") }), at(10));
    let pending = RuntimeFact { generation: 2, desired_profile: Some(profile("new")), ..applied("none") };
    index.set_runtime("reef-1", Some(pending), at(10));
    let computed = compute(&mut index, policy("watch-ink"), at(20));
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::Progressing), "a node has not answered");
    index.set_runtime("reef-1", Some(RuntimeFact { problems: refused(), ..applied("new") }), at(21));
    let computed = compute(&mut index, policy("watch-ink"), at(22));
    assert_eq!(state(&computed, Stalled), reason(True, Reason::NoSuchTracepoint));
    assert_eq!(find(&computed.status.common.conditions, Reconciling), None);
    assert_eq!(find(&compute(&mut index, stack(), at(22)).status.common.conditions, Stalled), None);
}

#[test]
fn a_stack_on_kernels_without_btf_is_stalled() {
    let mut index = ready_nodes(2);
    let not_ready = Some(("BtfMissing".to_owned(), "this kernel has no BTF; run another one".to_owned()));
    index.set_runtime("reef-1", Some(RuntimeFact { not_ready, ..applied("new") }), at(10));
    assert_eq!(state(&compute(&mut index, stack(), at(20)), Stalled), reason(True, Reason::BtfMissing));
}

#[test]
fn a_failure_that_may_end_by_itself_does_not_stall() {
    for temporary in ["ExportFailed", "LoadFailed", "OfANewerAgent"] {
        let mut index = ready_nodes(2);
        let problems = vec![problem(SourceKind::ObservabilityStack, "default", temporary)];
        index.set_runtime("reef-1", Some(RuntimeFact { problems, ..applied("new") }), at(10));
        let computed = compute(&mut index, stack(), at(20));
        assert_eq!(state(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
        assert_eq!(find(&computed.status.common.conditions, Stalled), None, "{temporary}");
    }
}

#[test]
fn a_tolerated_failure_does_not_stall() {
    let mut index = ready_nodes(200);
    let problems = vec![problem(SourceKind::TracingPolicy, "watch-ink", "KernelTooOld")];
    index.set_runtime("reef-1", Some(RuntimeFact { problems, ..applied("new") }), at(10));
    let computed = compute(&mut index, policy("watch-ink"), at(20));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    assert_eq!(find(&computed.status.common.conditions, Stalled), None);
}

/// Reports that a profile was planned, points the nodes at it, and returns the stack that asks for it.
fn plan_profile(index: &mut Index, generation: i64, digest: &str, now: Timestamp) -> StatusInput {
    let parts = BTreeSet::from(["part-of-watch-ink".to_owned()]);
    index.apply_report(ControllerReport::Planned { generation, profile: digest.into(), parts });
    for node in ["reef-0", "reef-1"] {
        let fact = index.runtimes[node].clone();
        let (answered, desired_profile) = (Some(fact.generation), Some(profile(digest)));
        let generation = fact.generation + 1;
        let fact = RuntimeFact { generation, observed_generation: answered, desired_profile, ..fact };
        index.set_runtime(node, Some(fact), now);
    }
    let source = Source { generation, ..stack().source };
    StatusInput { source, requested: Requested::Profile(profile(digest)), ..stack() }
}

#[test]
fn an_edited_policy_shows_in_programmed_and_not_in_ready() {
    let mut index = ready_nodes(2);
    plan_profile(&mut index, 4, "new", at(1));
    // The nodes point at the next profile while the stack is not reported yet, and after that.
    let next = plan_profile(&mut index, 4, "newer", at(100));
    for input in [stack(), next.clone()] {
        let computed = compute(&mut index, input, at(101));
        assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
        assert_eq!(computed.status.common.ready_nodes.as_deref(), Some("2/2"));
        assert_eq!(find(&computed.status.common.conditions, Reconciling), None);
        assert_eq!(state(&computed, Programmed), reason(False, Reason::RollingOut));
    }
    let answer = RuntimeFact { generation: 3, observed_generation: Some(3), ..applied("newer") };
    index.set_runtime("reef-0", Some(answer), at(102));
    let computed = compute(&mut index, next.clone(), at(103));
    assert_eq!(condition(&computed, Programmed).message, "2 of 2 nodes updated, 1 answered");
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    // An agent that does not answer the change is the stack's matter again.
    assert_eq!(computed.recompute_at, Some(at(130)));
    let computed = compute(&mut index, next, at(130));
    assert_eq!(state(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
}

#[test]
fn further_edits_give_no_more_time_to_an_agent_that_is_behind() {
    let mut index = ready_nodes(1);
    for (generation, second) in [(2, 100), (3, 110), (4, 120)] {
        let behind = RuntimeFact { generation, desired_profile: Some(profile("new")), ..applied("old") };
        index.set_runtime("reef-0", Some(behind), at(second));
    }
    let computed = compute(&mut index, stack(), at(130));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
    let message = condition(&computed, Degraded).message;
    assert!(message.contains(&format!("the agent is behind since {}:", at(100))), "{message}");
    // It answers one of the changes, so it has time again for the others.
    let late = RuntimeFact { generation: 4, observed_generation: Some(2), ..applied("old") };
    index.set_runtime("reef-0", Some(RuntimeFact { desired_profile: Some(profile("new")), ..late }), at(131));
    assert_eq!(state(&compute(&mut index, stack(), at(132)), Ready), reason(False, Reason::Progressing));
}

#[test]
fn an_edited_stack_is_not_ready_until_nodes_have_it() {
    let mut index = ready_nodes(2);
    plan_profile(&mut index, 4, "new", at(1));
    let edited = plan_profile(&mut index, 5, "newer", at(100));
    let computed = compute(&mut index, edited, at(101));
    assert_eq!(state(&computed, Ready), reason(False, Reason::Progressing));
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::Progressing));
}

#[test]
fn nodes_without_an_agent_have_not_answered() {
    let mut index = ready_nodes(0);
    for node in ["reef-0", "reef-1"] {
        index.set_node(node, Some(NodeFact { created: Some(at(-500)), ..NodeFact::default() }));
        let given = RuntimeFact { generation: 1, desired_profile: Some(profile("new")), ..RuntimeFact::default() };
        index.set_runtime(node, Some(given), at(0));
    }
    for input in [stack(), policy("watch-ink")] {
        let computed = compute(&mut index, input, at(100));
        assert_eq!(state(&computed, Degraded), reason(True, Reason::AgentSilent));
        assert_eq!(state(&computed, Programmed), reason(False, Reason::WaitingForAgents));
    }
}

#[test]
fn a_suspended_stack_counts_the_nodes_that_have_unloaded() {
    let mut index = ready_nodes(2);
    let pending = RuntimeFact { generation: 2, desired_profile: Some(profile("new")), ..applied("old") };
    index.set_runtime("reef-1", Some(pending), at(10));
    let computed = compute(&mut index, StatusInput { suspended: true, ..stack() }, at(11));
    let message = condition(&computed, Ready).message;
    assert!(message.starts_with("suspended: 1 of 2 nodes unloaded everything"), "{message}");
}
