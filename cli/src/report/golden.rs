//! Reports of clusters, as printed, against golden files. `UPDATE_GOLDEN=1` rewrites them.

use std::{fs, path::PathBuf};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use trilobite_crds::{AppProfile, ObservabilityStack, TracingPolicy, condition::Condition, node::NodeRuntime};

use super::{
    build::{ClusterObjects, Report, Unread},
    render::{ReportStyle, render},
};
use crate::output::paint::Paint;

const IN_ORDER: &str = r#"
- {type: Ready, status: "True", reason: Ready, message: 2 of 2 nodes ready, lastTransitionTime: "2026-01-01T00:00:00Z"}
- {type: Accepted, status: "True", reason: Valid, message: the spec is supported, lastTransitionTime: "2026-01-01T00:00:00Z"}
- {type: Degraded, status: "False", reason: AsExpected, message: nothing is wrong, lastTransitionTime: "2026-01-01T00:00:00Z"}
"#;
pub(super) const AN_HOUR_LATER: &str = "2026-01-01T01:00:00Z";

fn conditions(text: &str) -> Vec<Condition> {
    serde_yaml::from_str(text).unwrap()
}

fn stack() -> ObservabilityStack {
    let mut stack = ObservabilityStack::new("default", Default::default());
    let status = stack.status.get_or_insert_default();
    status.common.conditions = conditions(IN_ORDER);
    status.common.ready_nodes = Some("2/2".into());
    stack
}

fn node(name: &str) -> NodeRuntime {
    serde_yaml::from_str(&format!(
        r#"
metadata: {{name: {name}}}
spec: {{profileRef: {{name: default-all-1a2b, digest: 1a2b}}}}
status:
  appliedProfile: {{name: default-all-1a2b, digest: 1a2b}}
  partsInForce: 3
  agentVersion: 0.1.0
  kernel: {{release: 6.12.1-reef, cgroup: v2}}
  sessions: [{{name: flowcapture.shop.till, state: Running}}]
  conditions:
  - {{type: Ready, status: "True", reason: Ready, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}}
"#
    ))
    .unwrap()
}

fn policy(name: &str, status: &str) -> TracingPolicy {
    serde_yaml::from_str(&format!("{{metadata: {{name: {name}}}, spec: {{}}, status: {status}}}")).unwrap()
}

fn operator(replicas: i32, available: i32) -> Deployment {
    serde_yaml::from_str(&format!(
        "{{metadata: {{name: trilobite-operator}}, spec: {{replicas: {replicas}, selector: {{}}, template: {{}}}}, status: {{availableReplicas: {available}}}}}"
    ))
    .unwrap()
}

fn agent(node: &str, status: &str) -> Pod {
    serde_yaml::from_str(&format!(
        r#"
metadata: {{name: trilobite-node-{node}, labels: {{app.kubernetes.io/name: trilobite-node}}}}
spec: {{nodeName: {node}, containers: [{{name: agent, resources: {{limits: {{memory: 64Mi}}}}}}]}}
status: {status}
"#
    ))
    .unwrap()
}

fn running(node: &str) -> Pod {
    agent(node, r#"{phase: Running, conditions: [{type: Ready, status: "True"}]}"#)
}

/// The operator and the agents of alder and birch run; nothing is asked of them.
pub(super) fn healthy() -> ClusterObjects {
    ClusterObjects {
        stacks: Some(vec![stack()]),
        policies: Some(Vec::new()),
        namespaced_policies: Some(Vec::new()),
        captures: Some(Vec::new()),
        profiles: Some(Vec::new()),
        nodes: Some(vec![node("birch"), node("alder")]),
        operators: Some(vec![operator(1, 1)]),
        pods: Some(vec![running("alder"), running("birch")]),
        unread: Vec::new(),
        namespace: "fossils".into(),
        now: AN_HOUR_LATER.parse().unwrap(),
    }
}

fn check(name: &str, found: ClusterObjects) -> Report {
    let report = Report::new(found);
    let text = render(&report, ReportStyle { paint: Paint(false), wide: name.ends_with("-wide") });
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/report/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    assert_eq!(report.in_order, report.wrong.is_empty() && report.unread.is_empty());
    report
}

#[test]
fn stack_in_order_takes_few_lines() {
    assert!(check("in-order", healthy()).is_ready());
    check("in-order-wide", healthy());
}

#[test]
fn first_step_is_shown_without_a_stack() {
    let found =
        ClusterObjects { stacks: Some(Vec::new()), nodes: Some(Vec::new()), pods: Some(Vec::new()), ..healthy() };
    assert!(!check("no-stack", found).is_ready());
}

#[test]
fn without_operator_and_agents_nothing_is_ready() {
    let mut stale = stack();
    stale.status.as_mut().unwrap().observed_at = Some("2026-01-01T00:15:15Z".parse().unwrap());
    let report = check(
        "operator-gone",
        ClusterObjects {
            stacks: Some(vec![stale]),
            operators: Some(vec![operator(0, 0)]),
            pods: Some(Vec::new()),
            ..healthy()
        },
    );
    assert!(!report.is_ready() && !report.stack.unwrap().ready);
    assert!(report.nodes.iter().all(|node| !node.ready));
}

#[test]
fn stack_whose_status_is_not_renewed_is_not_known_to_be_ready() {
    let mut stale = stack();
    stale.status.as_mut().unwrap().observed_at = Some("2026-01-01T00:15:15Z".parse().unwrap());
    let report = check("not-renewed", ClusterObjects { stacks: Some(vec![stale]), ..healthy() });
    assert!(!report.is_ready());
}

#[test]
fn node_whose_image_cannot_be_pulled_is_not_ready() {
    let image = r#"{phase: Pending, containerStatuses: [{name: agent, image: i, imageID: "", ready: false, restartCount: 0,
        state: {waiting: {reason: ImagePullBackOff, message: "Back-off pulling image reg.example/node:7"}}}]}"#;
    let report =
        check("image-pull", ClusterObjects { pods: Some(vec![running("alder"), agent("birch", image)]), ..healthy() });
    assert_eq!(report.nodes.iter().map(|node| node.ready).collect::<Vec<_>>(), [true, false]);
    assert_eq!(report.stack.unwrap().ready_nodes, "1/2");
}

#[test]
fn agent_without_memory_names_its_limit() {
    let oom = r#"{phase: Running, containerStatuses: [{name: agent, image: i, imageID: "", ready: false, restartCount: 4,
        state: {waiting: {reason: CrashLoopBackOff, message: back-off 40s}},
        lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]}"#;
    check("out-of-memory", ClusterObjects { pods: Some(vec![running("alder"), agent("birch", oom)]), ..healthy() });
}

#[test]
fn degraded_stack_is_listed_though_it_is_ready() {
    let mut typo = stack();
    let common = &mut typo.status.as_mut().unwrap().common;
    common.ready_nodes = Some("0/0".into());
    common.conditions = conditions(
        r#"
- {type: Ready, status: "True", reason: Ready, message: 0 of 0 nodes ready, lastTransitionTime: "2026-01-01T00:00:00Z"}
- {type: Degraded, status: "True", reason: NoMatchingNodes, message: "spec.runtime.nodeSelector matches none of 2 nodes", lastTransitionTime: "2026-01-01T00:00:00Z"}
"#,
    );
    let found =
        ClusterObjects { stacks: Some(vec![typo]), nodes: Some(Vec::new()), pods: Some(Vec::new()), ..healthy() };
    assert!(!check("degraded", found).is_ready());
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_shown() {
    let unread = Unread {
        what: "pods in namespace fossils".into(),
        message: "pods is forbidden: User \"till\" cannot list resource \"pods\" in the namespace \"fossils\"".into(),
        next: "ask for a role with the right to list pods in namespace fossils".into(),
    };
    let found = ClusterObjects { pods: None, unread: vec![unread], ..healthy() };
    let report = check("not-allowed", found);
    assert!(!report.in_order && report.wrong.is_empty());
    assert!(!report.is_ready());
}

#[test]
fn policy_that_fails_on_some_nodes_is_explained() {
    let mut sick = node("birch");
    let status = sick.status.as_mut().unwrap();
    status.problems = serde_yaml::from_str(
        r#"[{source: {kind: TracingPolicy, name: watch-reef, generation: 1}, reason: NoSuchTracepoint,
             field: "spec.tracepoints[0]", message: "spec.tracepoints[0]: tracepoint reef/tide does not exist in this kernel"}]"#,
    )
    .unwrap();
    status.losses = serde_yaml::from_str(
        "[{source: {kind: TracingPolicy, name: watch-reef, generation: 1}, place: security_ring, count: 12}]",
    )
    .unwrap();
    let failing = policy(
        "watch-reef",
        r#"{failures: [{count: 2, exampleNode: birch, kernel: 6.12.1-reef, reason: NoSuchTracepoint,
             message: tracepoint reef/tide does not exist in this kernel}]}"#,
    );
    let fine = policy("watch-shore", &format!("{{conditions: [{}]}}", &IN_ORDER.lines().nth(1).unwrap()[2..]));
    check(
        "one-bad-policy",
        ClusterObjects { policies: Some(vec![failing, fine]), nodes: Some(vec![node("alder"), sick]), ..healthy() },
    );
}

#[test]
fn refused_pending_and_completed_resources_differ() {
    let refused = r#"{conditions: [
        {type: Ready, status: "False", reason: NotAccepted, message: not accepted, lastTransitionTime: "2026-01-01T00:00:00Z"},
        {type: Accepted, status: "False", reason: Unsupported, message: "spec.kprobes: not supported", lastTransitionTime: "2026-01-01T00:00:00Z"}]}"#;
    let unseen = |name: &str| {
        let mut unseen = policy(name, "{}");
        unseen.status = None;
        unseen
    };
    let ended: AppProfile = serde_yaml::from_str(
        r#"{metadata: {name: p, namespace: shop}, spec: {podSelector: {}, cpu: {}}, status: {conditions: [
        {type: Ready, status: "False", reason: DurationElapsed, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"},
        {type: Completed, status: "True", reason: DurationElapsed, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}}"#,
    )
    .unwrap();
    let mut silent = node("cedar");
    silent.status = None;
    check(
        "not-accepted",
        ClusterObjects {
            policies: Some(vec![policy("refused", refused), unseen("unseen"), unseen("unseen-too")]),
            profiles: Some(vec![ended]),
            nodes: Some(vec![silent]),
            pods: Some(vec![running("cedar")]),
            ..healthy()
        },
    );
}

#[test]
fn every_next_step_names_the_namespace_of_trilobite() {
    let report = Report::new(ClusterObjects { operators: Some(Vec::new()), pods: Some(Vec::new()), ..healthy() });
    assert!(!report.wrong.is_empty());
    for finding in &report.wrong {
        assert!(!finding.next.contains("trilobite-system"), "{}", finding.next);
    }
}
