//! Messages: their wording, and that they fit into the fields of a status.

use proptest::{collection, prelude::*};
use trilobite_crds::{
    Failure, NodeCounts, Reason, Refusal,
    condition::MAX_MESSAGE,
    node::{Source, SourceKind},
    status::MAX_SUMMARY,
};

use super::*;

fn failure(count: i32) -> Failure {
    Failure {
        count,
        example_node: "reef-7".into(),
        kernel: "5.10.0-32".into(),
        message: "the kernel's verifier rejected on_exec".into(),
        reason: "VerifierRejected".into(),
    }
}

#[test]
fn a_summary_has_counts_and_reasons() {
    let counts = NodeCounts { desired: 10_000, excluded: 4, failing: 213, ready: 9_787, updated: 10_000 };
    assert_eq!(
        summary(&counts, &[failure(213)], None),
        "9,787 of 10,000 nodes ready; 4 not counted (new, or being deleted); 213 failing: VerifierRejected x213 (kernel \
         5.10.0-32)"
    );
}

#[test]
fn a_failure_has_a_count_an_example_and_the_message() {
    assert_eq!(
        worst_failure(&[failure(1)]),
        "VerifierRejected on 1 node (kernel 5.10.0-32), e.g. reef-7: the kernel's verifier rejected on_exec"
    );
}

const NODE: &str = "ip-10-200-100-100.eu-central-1.compute.internal";

/// Every message about a node, with the longest node name of a cloud provider.
fn node_messages() -> Vec<String> {
    let namespace = "trilobite-system";
    vec![
        agent_missing(namespace, NODE),
        agent_not_running(namespace, NODE),
        agent_waiting(namespace, NODE, "CreateContainerConfigError"),
        agent_not_ready(namespace, NODE, None),
        agent_not_ready(namespace, NODE, Some("export-stdout: CrashLoopBackOff, exit code 137")),
        agent_not_responding(namespace, NODE, Timestamp::UNIX_EPOCH),
        pods_forbidden(namespace, &"violates PodSecurity \"baseline:latest\": host namespaces".repeat(3)),
        pods_refused(namespace, &"insufficient quota to match these scopes: [{PriorityClass In [x]}]".repeat(3)),
        pods_refused(namespace, &"failed quota: pods: must specify limits.cpu for: agent".repeat(3)),
        part_refused(namespace, NODE),
        session_refused(NODE),
        session_expired().into(),
        node_full(NODE),
        no_matching_nodes(12_345),
        no_matching_nodes(1),
        agent_out_of_memory(NODE, Some("536870912")),
        agent_out_of_memory(NODE, None),
        agent_waiting(namespace, NODE, "CrashLoopBackOff, exit code 255"),
    ]
}

#[test]
fn the_next_step_survives_the_longest_node_name() {
    for text in node_messages() {
        assert!(text.chars().count() <= MAX_MESSAGE, "{}: {text}", text.chars().count());
    }
}

#[test]
fn the_next_step_survives_in_a_condition() {
    let counts = NodeCounts { desired: 15_000, failing: 12_345, ..NodeCounts::default() };
    for message in node_messages() {
        let next = message.rsplit_once("; ").unwrap().1.to_owned();
        let kernel = "6.8.0-1021-aws-fips-hardened".to_owned();
        let failure = Failure { count: 12_345, example_node: NODE.into(), kernel, message, ..failure(1) };
        for text in [worst_failure(std::slice::from_ref(&failure)), too_many_failing(&counts, &[failure])] {
            assert!(text.chars().count() <= MAX_MESSAGE && text.ends_with(&next), "{text}");
        }
    }
}

#[test]
fn the_next_step_names_the_namespace() {
    assert!(agent_not_ready("ink-system", "reef-1", None).contains("kubectl -n ink-system describe pods"));
}

#[test]
fn a_summary_lists_three_groups_and_counts_the_rest() {
    let counts = NodeCounts { desired: 5, failing: 5, ..NodeCounts::default() };
    let failures: Vec<_> = (0..5).map(|_| failure(1)).collect();
    let text = summary(&counts, &failures, None);
    assert_eq!(text.matches("VerifierRejected x1").count(), 3, "{text}");
    assert!(text.ends_with(", and 2 more"), "{text}");
}

#[test]
fn a_rejected_object_is_quoted_with_the_next_step() {
    let why = "DaemonSet.apps \"trilobite-node\" is invalid: spec.template.spec.containers[0].resources.requests: \
               Invalid value: \"256Mi\": must be less than or equal to memory limit of 128Mi";
    assert_eq!(
        object_rejected("spec.runtime", "DaemonSet", why),
        "spec.runtime: Kubernetes rejects the agents' DaemonSet: resources.requests: Invalid value: \"256Mi\": must be less \
         than or equal to memory limit of 128Mi; correct spec.runtime"
    );
    let of_relay = object_rejected("spec.relay", "Deployment", "Deployment.apps \"trilobite-relay\" is invalid: no");
    assert_eq!(of_relay, "spec.relay: Kubernetes rejects the relay's Deployment: no; correct spec.relay");
}

proptest! {
    #[test]
    fn messages_are_within_their_limits(
        reasons in collection::vec("\\PC{0,80}", 0..12),
        kernel in "\\PC{0,128}",
        message in "\\PC{0,200}",
        node in "\\PC{0,253}",
        count: i32,
    ) {
        let failures: Vec<Failure> = reasons
            .iter()
            .map(|reason| Failure {
                count,
                example_node: node.clone(),
                kernel: kernel.clone(),
                message: message.clone(),
                reason: reason.clone(),
            })
            .collect();
        let counts = NodeCounts { desired: count, excluded: count, failing: count, ready: count, updated: count };
        let source = Source {
            kind: SourceKind::TracingPolicy, namespace: None, name: node, generation: 1,
        };
        let refusals: Vec<_> =
            reasons.iter().map(|_| Refusal::new(&source, Reason::InvalidSpec, "", &message)).collect();
        let whole = summary(&counts, &failures, Some(nodes_outside_the_stack(count)));
        for text in [&whole, &summary_of_refused(&refusals, Some(&whole))] {
            prop_assert!(text.chars().count() <= MAX_SUMMARY, "{}", text);
        }
        for text in [worst_failure(&failures), too_many_failing(&counts, &failures), refused(&refusals), object_rejected("spec.relay", "x", &message)] {
            prop_assert!(text.chars().count() <= MAX_MESSAGE, "{}", text);
        }
    }
}

#[test]
fn a_denied_request_names_the_right() {
    let error = |scope: &str| {
        format!(
            "applying DaemonSet trilobite-node: ApiError: daemonsets.apps \"trilobite-node\" is forbidden: User \
             \"system:serviceaccount:trilobite-system:trilobite-operator\" cannot patch resource \"daemonsets\" in API \
             group \"apps\" {scope}: Forbidden"
        )
    };
    let next = "; compare the operator's ClusterRole and Role with the chart's";
    let named = denied(&error("in the namespace \"trilobite-system\""));
    assert_eq!(named, format!("the operator may not patch daemonsets.apps in namespace trilobite-system{next}"));
    // A resource of the core group has an empty group.
    let named =
        denied(&error("at the cluster scope").replace("daemonsets", "nodes").replace("group \"apps\"", "group \"\""));
    assert_eq!(named, format!("the operator may not patch nodes in the cluster{next}"));
    let unknown = denied(&"an admission webhook denied it ".repeat(20));
    assert!(unknown.starts_with("an admission webhook") && unknown.ends_with(next), "{unknown}");
}

#[test]
fn one_reason_on_two_kernels_counts_all_its_nodes() {
    let old = Failure { kernel: "4.19.0".into(), ..failure(1) };
    let other = Failure { reason: "AgentSilent".into(), ..failure(1) };
    assert_eq!(
        worst_failure(&[failure(2), old, other]),
        "VerifierRejected on 3 nodes, e.g. reef-7: the kernel's verifier rejected on_exec"
    );
}

#[test]
fn the_word_that_helps_is_not_cut_in_a_condition() {
    let message = "spec.tracepoints[0].args[0]: tracepoint syscalls/sys_enter_openat: __filename_val is not visible to \
                   programs; use filename, index 4; compare args[].index with the tracepoint's format file";
    let failure = Failure { reason: "NoSuchArgument".into(), message: message.into(), ..failure(2) };
    let counts = NodeCounts { desired: 2, failing: 2, ..NodeCounts::default() };
    for text in [worst_failure(std::slice::from_ref(&failure)), too_many_failing(&counts, &[failure])] {
        assert!(text.contains("use filename, index 4; compare"), "{text}");
    }
}

#[test]
fn numbers_are_grouped_by_thousands() {
    assert_eq!([number(0), number(999), number(1_000), number(-1_234_567)], ["0", "999", "1,000", "-1,234,567"]);
}
