//! Reports of clusters, as printed, against golden files. `UPDATE_GOLDEN=1` rewrites them.

use std::{fs, path::PathBuf};

use trilobite_crds::{AppProfile, ObservabilityStack, TracingPolicy, condition::Condition, node::NodeRuntime};

use super::{
    build::{ClusterObjects, Report},
    render::render,
};

const IN_ORDER: &str = r#"
- {type: Ready, status: "True", reason: Ready, message: 2 of 2 nodes ready, lastTransitionTime: "2026-01-01T00:00:00Z"}
- {type: Accepted, status: "True", reason: Valid, message: the spec is supported, lastTransitionTime: "2026-01-01T00:00:00Z"}
- {type: Degraded, status: "False", reason: AsExpected, message: nothing is wrong, lastTransitionTime: "2026-01-01T00:00:00Z"}
"#;

fn conditions(text: &str) -> Vec<Condition> {
    serde_yaml::from_str(text).unwrap()
}

fn stack() -> ObservabilityStack {
    let mut stack = ObservabilityStack::new("default", Default::default());
    stack.status = Some(trilobite_crds::ResourceStatus {
        conditions: conditions(IN_ORDER),
        ready_nodes: Some("2/2".into()),
        ..Default::default()
    });
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

fn check(name: &str, found: ClusterObjects) {
    let report = Report::new(found);
    let text = render(&report);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/report/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    assert_eq!(report.in_order, report.wrong.is_empty());
}

#[test]
fn stack_in_order_takes_few_lines() {
    check(
        "in-order",
        ClusterObjects {
            stacks: vec![stack()],
            nodes: vec![node("birch"), node("alder")],
            ..ClusterObjects::default()
        },
    );
}

#[test]
fn first_step_is_shown_without_a_stack() {
    check("no-stack", ClusterObjects::default());
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
        ClusterObjects {
            stacks: vec![stack()],
            policies: vec![failing, fine],
            nodes: vec![node("alder"), sick],
            ..ClusterObjects::default()
        },
    );
}

#[test]
fn refused_pending_and_completed_resources_differ() {
    let refused = r#"{conditions: [
        {type: Ready, status: "False", reason: NotAccepted, message: not accepted, lastTransitionTime: "2026-01-01T00:00:00Z"},
        {type: Accepted, status: "False", reason: Unsupported, message: "spec.kprobes: not supported", lastTransitionTime: "2026-01-01T00:00:00Z"}]}"#;
    let mut unseen = policy("unseen", "{}");
    unseen.status = None;
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
            stacks: vec![stack()],
            policies: vec![policy("refused", refused), unseen],
            profiles: vec![ended],
            nodes: vec![silent],
            ..ClusterObjects::default()
        },
    );
}
