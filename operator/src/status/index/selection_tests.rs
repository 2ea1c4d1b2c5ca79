//! The index: what selects no node or pod, and which nodes count.

use std::collections::BTreeMap;

use trilobite_crds::{
    Reason,
    condition::{
        ConditionStatus::{False, True},
        ConditionType::{Degraded, Programmed, Ready, Reconciling, Stalled},
        find,
    },
    node::SourceKind,
};

use super::{
    ComputedStatus,
    tests::{
        agent, applied, at, compute, condition, policy, problem, profile, ready_nodes, reason, select_nodes, source,
        stack, state, status_input,
    },
};
use crate::status::{
    controller_report::{Requested, StatusInput},
    facts::{NodeFact, RuntimeFact},
};

fn part_of_watch_ink(out_of_scope: bool, dry_run: bool) -> Requested {
    Requested::Part { profile: profile("new"), digest: "part-of-watch-ink".into(), out_of_scope, dry_run }
}

#[test]
fn a_new_node_counts_after_its_grace_period_or_when_ready() {
    let mut index = ready_nodes(2);
    index.set_node("reef-9", Some(NodeFact { created: Some(at(300)), ..NodeFact::default() }));
    let counts = |computed: &ComputedStatus| {
        let nodes = computed.status.common.nodes.clone().unwrap();
        (nodes.desired, nodes.excluded, nodes.ready)
    };
    let new = compute(&mut index, stack(), at(310));
    assert_eq!((counts(&new), new.recompute_at), ((2, 1, 2), Some(at(360))));
    assert_eq!(counts(&compute(&mut index, stack(), at(360))), (3, 0, 2));
    index.set_agent("pod-9", Some(agent("reef-9", true)), at(311));
    index.set_runtime("reef-9", Some(applied("new")), at(311));
    assert_eq!(counts(&compute(&mut index, stack(), at(312))), (3, 0, 3));
}

#[test]
fn a_node_that_is_being_deleted_does_not_count() {
    let mut index = ready_nodes(2);
    index.set_node("reef-1", Some(NodeFact { deleting: true, ..NodeFact::default() }));
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(computed.status.common.ready_nodes.as_deref(), Some("1/1"));
}

#[test]
fn a_stack_without_a_matching_node_is_not_ready() {
    let mut index = ready_nodes(2);
    select_nodes(&mut index, "no-such-disk");
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(state(&computed, Ready), reason(False, Reason::NoMatchingNodes));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::NoMatchingNodes));
    assert_eq!(state(&computed, Programmed), reason(False, Reason::NoMatchingNodes));
    assert_eq!(state(&computed, Stalled), reason(True, Reason::NoMatchingNodes));
    let message = condition(&computed, Ready).message;
    assert!(message.starts_with("none of the cluster's 2 nodes matches spec.runtime.nodeSelector"), "{message}");
    assert_eq!(computed.status.common.ready_nodes.as_deref(), Some("0/0"));
    let suspended = StatusInput { suspended: true, ..stack() };
    let computed = compute(&mut index, suspended, at(100));
    assert_eq!(find(&computed.status.common.conditions, Stalled), None, "it asks for no node");
}

#[test]
fn a_policy_is_not_ready_while_the_stack_has_no_node() {
    let mut index = ready_nodes(2);
    select_nodes(&mut index, "no-such-disk");
    let computed = compute(&mut index, policy("watch-ink"), at(100));
    assert_eq!(state(&computed, Ready), reason(False, Reason::NoMatchingNodes));
    // It becomes ready without a change of its own.
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::NoMatchingNodes));
}

#[test]
fn a_policy_whose_namespace_is_left_out_is_not_ready() {
    let outside = |kind, name| status_input(source(kind, name), part_of_watch_ink(true, false));
    let mut index = ready_nodes(2);
    let computed = compute(&mut index, outside(SourceKind::TracingPolicyNamespaced, "watch-ink"), at(100));
    assert_eq!(state(&computed, Ready), reason(False, Reason::NoMatchingPods));
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::NoMatchingPods), "the namespace can be labelled");
    let message = condition(&computed, Ready).message;
    assert!(
        message.starts_with("the stack's spec.security.namespaceSelector leaves out namespace payments;"),
        "{message}"
    );
    let computed = compute(&mut index, outside(SourceKind::TracingPolicy, "watch-kelp"), at(100));
    let message = condition(&computed, Ready).message;
    assert!(message.starts_with("no namespace matches the stack's spec.security.namespaceSelector;"), "{message}");
}

#[test]
fn a_cluster_without_nodes_does_not_stall_the_stack() {
    let computed = compute(&mut ready_nodes(0), stack(), at(100));
    assert_eq!(state(&computed, Ready), reason(False, Reason::NoMatchingNodes));
    assert_eq!(state(&computed, Reconciling), reason(True, Reason::NoMatchingNodes));
    assert_eq!(condition(&computed, Ready).message, "the cluster has no node; the agents start when one joins");
}

#[test]
fn nodes_that_are_not_the_stacks_are_counted() {
    let mut index = ready_nodes(2);
    let labels = BTreeMap::from([("disk".to_owned(), "coral".to_owned())]);
    index.set_node("reef-1", Some(NodeFact { created: Some(at(-500)), labels, ..NodeFact::default() }));
    select_nodes(&mut index, "coral");
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    let counted = "1 of 1 node ready; 1 node of the cluster is not the stack's";
    assert_eq!(condition(&computed, Ready).message, counted);
    assert_eq!(computed.status.common.summary.as_deref(), Some(counted));
    let of_policy = condition(&compute(&mut index, policy("watch-ink"), at(100)), Ready).message;
    assert_eq!(of_policy, "1 of 1 node ready; no pod is selected now");
}

#[test]
fn nodes_that_leave_are_not_said_to_have_joined() {
    let mut index = ready_nodes(1);
    index.set_node("reef-0", Some(NodeFact { deleting: true, created: Some(at(-500)), ..NodeFact::default() }));
    let computed = compute(&mut index, stack(), at(100));
    assert_eq!(condition(&computed, Ready).message, "1 node is being deleted, and no other is the stack's");
}

#[test]
fn a_dry_run_is_never_ready_and_counts_the_nodes_that_could() {
    let checked = || status_input(source(SourceKind::TracingPolicy, "watch-ink"), part_of_watch_ink(false, true));
    let mut index = ready_nodes(2);
    let computed = compute(&mut index, checked(), at(100));
    assert_eq!(state(&computed, Ready), reason(False, Reason::DryRun));
    assert_eq!(state(&computed, Programmed), reason(True, Reason::AllNodesApplied));
    let message = condition(&computed, Ready).message;
    assert_eq!(message, "dry run, nothing is loaded: 2 of 2 nodes could have it active; no pod is selected now");
    assert_eq!(computed.status.common.ready_nodes, None);
    assert_eq!(find(&computed.status.common.conditions, Reconciling), None, "every node has answered");
    let refused = problem(SourceKind::TracingPolicy, "watch-ink", "NoSuchFunction");
    index.set_runtime("reef-1", Some(RuntimeFact { problems: vec![refused], ..applied("new") }), at(100));
    let computed = compute(&mut index, checked(), at(101));
    assert_eq!(state(&computed, Ready), reason(False, Reason::TooManyNodesFailing));
    assert_eq!(state(&computed, Degraded), reason(True, Reason::NoSuchFunction));
    let summary = computed.status.common.summary.unwrap();
    assert!(
        summary.starts_with("dry run, nothing is loaded: 1 of 2 nodes ready; 1 failing: NoSuchFunction"),
        "{summary}"
    );
}
