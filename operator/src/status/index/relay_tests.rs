//! The relay in the stack's status, and nodes whose port for it is closed.

use trilobite_crds::{
    Condition,
    condition::{ConditionStatus, ConditionType, find},
    node::{NodeProblem, SourceKind},
};

use super::{
    ComputedStatus, Index,
    tests::{applied, at, compute, condition, policy, problem, ready_nodes, stack, state},
};
use crate::{
    resource_key::ResourceKey,
    status::{controller_report::ControllerReport, facts::RuntimeFact, relay::RelayState},
};

const SERVING: RelayState = RelayState::Available { available: 1, replicas: 1 };

fn report(index: &mut Index, relay: RelayState) -> ComputedStatus {
    index.apply_report(ControllerReport::Relay(relay));
    compute(index, stack(), at(100))
}

/// Its agent reports this of its port.
fn close_port(index: &mut Index, node: &str, reason: &str) {
    let problem = NodeProblem {
        message: format!("port 4244 cannot be opened on {node}"),
        ..problem(SourceKind::ObservabilityStack, "default", reason)
    };
    index.set_runtime(node, Some(RuntimeFact { problems: vec![problem], ..applied("new") }), at(1));
}

fn relay_ready(computed: &ComputedStatus) -> Option<Condition> {
    find(&computed.status.common.conditions, ConditionType::RelayReady).cloned()
}

#[test]
fn taken_port_concerns_the_relay_and_not_the_agents() {
    for reason in ["PortTaken", "CertificateNotIssued", "CertificateExpired"] {
        let mut index = ready_nodes(3);
        close_port(&mut index, "reef-1", reason);
        let computed = report(&mut index, SERVING);
        assert_eq!(state(&computed, ConditionType::Ready), (ConditionStatus::True, "Ready".into()));
        assert_eq!(state(&computed, ConditionType::RelayReady), (ConditionStatus::False, reason.into()));
        assert_eq!(state(&computed, ConditionType::Degraded), (ConditionStatus::True, reason.into()));
        let message = condition(&computed, ConditionType::RelayReady).message;
        assert_eq!(
            message,
            format!("{reason} on 1 node (kernel 6.12.0), e.g. reef-1: port 4244 cannot be opened on reef-1"),
        );
        let failures = &computed.status.common.failures;
        assert_eq!((failures.len(), failures[0].example_node.as_str()), (1, "reef-1"));
    }
}

#[test]
fn failing_node_is_named_before_a_closed_port() {
    let mut index = ready_nodes(3);
    close_port(&mut index, "reef-1", "PortTaken");
    let fails = RuntimeFact {
        problems: vec![problem(SourceKind::ObservabilityStack, "default", "BtfMissing")],
        ..applied("new")
    };
    index.set_runtime("reef-2", Some(fails), at(1));
    let computed = report(&mut index, SERVING);
    assert_eq!(state(&computed, ConditionType::Degraded), (ConditionStatus::True, "BtfMissing".into()));
    let reasons: Vec<_> = computed.status.common.failures.iter().map(|failure| failure.reason.as_str()).collect();
    assert_eq!(reasons, ["BtfMissing", "PortTaken"]);
}

#[test]
fn only_the_stack_has_the_condition() {
    let mut index = ready_nodes(1);
    close_port(&mut index, "reef-0", "PortTaken");
    assert!(relay_ready(&report(&mut index, SERVING)).is_some());
    let of_policy = compute(&mut index, policy("watch-ink"), at(100));
    assert_eq!(relay_ready(&of_policy), None);
    assert_eq!(state(&of_policy, ConditionType::Degraded).0, ConditionStatus::False);
}

#[test]
fn condition_waits_for_the_first_report_of_the_relay() {
    let mut index = ready_nodes(1);
    assert_eq!(relay_ready(&compute(&mut index, stack(), at(100))), None);
}

#[test]
fn changed_relay_computes_the_stack_anew() {
    let mut index = ready_nodes(1);
    report(&mut index, SERVING);
    index.take_dirty();
    index.apply_report(ControllerReport::Relay(SERVING));
    assert!(!index.is_dirty(), "nothing changed");
    index.apply_report(ControllerReport::Relay(RelayState::Unavailable { why: None }));
    assert_eq!(index.take_dirty(), [ResourceKey::from(&stack().source)].into());
}
