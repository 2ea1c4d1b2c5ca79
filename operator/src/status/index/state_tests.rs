//! The states of `e2e/gitops/states`: their conditions are those that the index computes, so that Argo CD, kstatus and the
//! command line are tested with the operator's own words. `UPDATE_GOLDEN=1` rewrites the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};
use trilobite_crds::{
    Reason, Refusal,
    node::{
        NodeProblem, RequestsSession, RequestsState, SessionState, SessionStatus, Source, SourceKind, TlsNotVisible,
    },
};

use super::{
    Index,
    tests::{agent, applied, problem, profile, stack_report, status_input},
};
use crate::{
    resource_key::ResourceKey,
    stack_nodes::NodeSelection,
    status::{
        controller_report::{ControllerReport, Requested, SessionRequest, StatusInput},
        facts::{AgentFact, NodeFact, OutOfMemory, RuntimeFact},
        messages,
        node_state::GracePeriods,
        user_status::UserStatus,
    },
};

/// The time at which all states are computed.
const NOW: &str = "2026-11-29T17:15:45Z";

fn ago(seconds: i64) -> Timestamp {
    NOW.parse::<Timestamp>().unwrap() - SignedDuration::from_secs(seconds)
}

fn long_ago() -> Timestamp {
    ago(5_000)
}

/// node1, node2, ..., whose agents have applied what they were given, long ago.
fn cluster(nodes: usize) -> Index {
    let grace = GracePeriods { node: Duration::from_secs(60), agent: Duration::from_secs(30) };
    let mut index = Index::new(grace, "trilobite-system");
    index.apply_report(report_selecting(NodeSelection::default()));
    for number in 1..=nodes {
        let node = format!("node{number}");
        index.set_node(&node, Some(NodeFact { created: Some(long_ago()), ..NodeFact::default() }));
        index.set_agent(&pod(&node), Some(running(&node)), long_ago());
        index.set_runtime(&node, Some(applied("new")), long_ago());
    }
    index
}

fn report_selecting(selection: NodeSelection) -> ControllerReport {
    let ControllerReport::Stack { template, mut profiles, rollout, .. } = stack_report() else { unreachable!() };
    profiles.entry("new".into()).or_default().insert("part".into());
    ControllerReport::Stack {
        selection: NodeSelection { stack_created: Some(long_ago()), ..selection },
        template,
        profiles,
        rollout,
    }
}

fn pod(node: &str) -> String {
    format!("trilobite-node-{node}")
}

fn running(node: &str) -> AgentFact {
    AgentFact { since: Some(long_ago()), ..agent(node, true) }
}

fn stopped(node: &str) -> AgentFact {
    AgentFact { ready: false, running: false, ..running(node) }
}

fn object(kind: SourceKind, name: &str) -> Source {
    let namespace = kind.is_namespaced().then(|| "shop".to_owned());
    Source { kind, namespace, name: name.into(), generation: 2 }
}

fn stack() -> StatusInput {
    status_input(object(SourceKind::ObservabilityStack, "default"), Requested::Profile(profile("new")))
}

fn policy(kind: SourceKind) -> StatusInput {
    let requested =
        Requested::Part { profile: profile("new"), digest: "part".into(), out_of_scope: false, dry_run: false };
    status_input(object(kind, "watch-forks"), requested)
}

fn session(kind: SourceKind, nodes: &[&str], expires_at: Timestamp) -> StatusInput {
    let nodes = Some(nodes.iter().map(|node| (*node).to_owned()).collect());
    let full_nodes = BTreeSet::new();
    let request = SessionRequest {
        name: "session".into(),
        started_at: ago(60),
        expires_at,
        nodes,
        full_nodes,
        out_of_scope: false,
        samples_cpu: true,
        requests: None,
    };
    status_input(object(kind, "till-cpu-2026-11-29"), Requested::Session(request))
}

/// What a node reports of a session.
fn reported(state: SessionState, expires_at: Timestamp, records: i64) -> RuntimeFact {
    let session =
        SessionStatus { name: "session".into(), expires_at: Some(expires_at), state, records, lost: 0, requests: None };
    RuntimeFact { desired_sessions: vec![("session".into(), expires_at)], sessions: vec![session], ..applied("new") }
}

/// The same of the requests of pods whose TLS is not decrypted.
fn reported_encrypted(expires_at: Timestamp) -> RuntimeFact {
    let java = TlsNotVisible { reason: "jsse".into(), binary: "java".into(), processes: 1 };
    let requests =
        RequestsState { pods: 1, connections: 4, encrypted: 4, tls_not_visible: vec![java], ..Default::default() };
    let mut fact = reported(SessionState::Running, expires_at, 0);
    fact.sessions[0].requests = Some(requests);
    fact
}

fn failing(source: &Source, reason: &str, message: &str) -> RuntimeFact {
    let problem = NodeProblem { source: source.clone(), message: message.into(), ..problem(source.kind, "", reason) };
    RuntimeFact { problems: vec![problem], ..applied("new") }
}

fn refused(mut input: StatusInput, reason: Reason, field: &str, message: &str) -> StatusInput {
    input.refusals = vec![Refusal::new(&input.source, reason, field, message)];
    input.requested = Requested::Nothing;
    input
}

fn reconcile_failed(index: &mut Index, reason: Reason, message: &str) {
    let key = ResourceKey::from(&stack().source);
    index.apply_report(ControllerReport::Resource(Box::new(stack())));
    index.apply_report(ControllerReport::ReconcileFailed { key, generation: 2, reason, message: message.into() });
}

/// The conditions of a state, as they are written to the API server, without their times.
fn conditions(index: &mut Index, input: Option<StatusInput>) -> Value {
    let key = ResourceKey::from(&input.as_ref().map_or_else(|| stack().source, |input| input.source.clone()));
    if let Some(input) = input {
        index.apply_report(ControllerReport::Resource(Box::new(input)));
    }
    let computed = index.compute(&key, &UserStatus::default(), NOW.parse().unwrap()).unwrap();
    let line = |condition: &trilobite_crds::Condition| json!({ "type": condition.r#type, "status": condition.status, "reason": condition.reason, "message": condition.message });
    computed.status.common.conditions.iter().map(line).collect()
}

/// The file with other conditions, which stand last in it.
fn with_conditions(text: &str, conditions: &Value) -> String {
    let (before, _) = text.split_once("    conditions:\n").unwrap();
    let line = |condition: &Value| {
        let [r#type, reason] = ["type", "reason"].map(|field| condition[field].as_str().unwrap());
        let (status, message) = (&condition["status"], &condition["message"]);
        format!(
            "      - type: {type}\n        status: {status}\n        reason: {reason}\n        message: {message}\n"
        )
    };
    let lines: String = conditions.as_array().unwrap().iter().map(line).collect();
    format!("{before}    conditions:\n{lines}")
}

fn check(name: &str, mut index: Index, input: impl Into<Option<StatusInput>>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../e2e/gitops/states").join(format!("{name}.yaml"));
    let text = fs::read_to_string(&path).unwrap();
    let computed = conditions(&mut index, input.into());
    let updated = std::env::var_os("UPDATE_GOLDEN").map(|_| with_conditions(&text, &computed));
    if let Some(updated) = &updated {
        fs::write(&path, updated).unwrap();
    }
    let state: Value = serde_yaml::from_str(updated.as_ref().unwrap_or(&text)).unwrap();
    assert_eq!(state["object"]["status"]["conditions"], computed, "{name}");
}

#[test]
fn states_of_a_stack_that_is_in_order() {
    for name in ["ready", "operator-gone", "operator-gone-spec-changed", "wrong-uninstall-order"] {
        check(name, cluster(2), stack());
    }
    let mut index = cluster(2);
    let taint = Taint { key: "disk".into(), effect: "NoExecute".into(), ..Taint::default() };
    let fact = NodeFact { taints: vec![taint], created: Some(long_ago()), ..NodeFact::default() };
    index.set_node("node2", Some(fact));
    index.set_agent(&pod("node2"), None, long_ago());
    check("taint", index, stack());
    let mut index = cluster(10_000);
    let old = failing(&stack().source, "KernelTooOld", "ring buffers need Linux 5.8; update the node, or exclude it");
    for node in ["node7", "node8", "node9"] {
        index.set_runtime(node, Some(RuntimeFact { kernel: "5.4.0".into(), ..old.clone() }), long_ago());
    }
    check("few-nodes-fail", index, stack());
}

#[test]
fn states_of_agents_that_do_not_run() {
    let mut index = cluster(2);
    for node in ["node1", "node2"] {
        index.set_agent(&pod(node), None, long_ago());
    }
    check("agents-gone", index, stack());
    let mut index = cluster(2);
    let waiting = AgentFact { waiting: Some("ImagePullBackOff".into()), ..stopped("node1") };
    index.set_agent(&pod("node1"), Some(waiting), long_ago());
    check("image", index, stack());
    let mut index = cluster(2);
    let out_of_memory = Some(OutOfMemory { limit: Some("32Mi".into()) });
    index.set_agent(&pod("node1"), Some(AgentFact { out_of_memory, ..stopped("node1") }), long_ago());
    check("oom", index, stack());
    let mut index = cluster(2);
    let since = "2026-11-29T17:12:12Z".parse().unwrap();
    let behind = RuntimeFact { generation: 2, desired_profile: Some(profile("new")), ..applied("old") };
    index.set_runtime("node1", Some(behind), since);
    check("starved-agent", index, stack());
}

#[test]
fn states_of_a_stack_that_changes() {
    let mut index = cluster(2);
    index.set_runtime("node2", Some(applied("older")), ago(5));
    check("rolling-out", index, stack());
    let suspended = || StatusInput { suspended: true, ..stack() };
    check("suspended", cluster(2), suspended());
    let mut index = cluster(2);
    let unloading = RuntimeFact { generation: 2, desired_profile: Some(profile("new")), ..applied("older") };
    index.set_runtime("node2", Some(unloading), ago(5));
    check("suspending", index, suspended());
}

#[test]
fn states_that_the_operator_meets() {
    let mut index = cluster(2);
    let gone = "applying NodeRuntime node1: the server could not find the requested resource";
    reconcile_failed(&mut index, Reason::ProgressingWithRetry, gone);
    check("crd-deleted", index, None);
    let mut index = cluster(2);
    let forbidden = "the operator may not patch daemonsets.apps in namespace trilobite-system";
    reconcile_failed(&mut index, Reason::AccessDenied, forbidden);
    check("rights", index, None);
    let mut index = cluster(2);
    let full =
        "/var/lib/trilobite/desired.json cannot be written (No space left on device); make room on the node's disk";
    index.set_runtime("node1", Some(failing(&stack().source, "StateNotKept", full)), long_ago());
    check("disk-full", index, stack());
    let field = "spec.application.requests";
    let missing = format!(
        "{field} must be set where spec.application.mode is Enabled: it says what to capture, e.g. requests: {{}}"
    );
    check("stack-refused", cluster(2), refused(stack(), Reason::InvalidSpec, field, &missing));
    let mut index = cluster(2);
    let node_selector = BTreeMap::from([("disk".to_owned(), "sdd".to_owned())]);
    index.apply_report(report_selecting(NodeSelection { node_selector, ..NodeSelection::default() }));
    for node in ["node1", "node2"] {
        index.set_agent(&pod(node), None, long_ago());
    }
    check("node-selector", index, stack());
}

#[test]
fn states_of_policies() {
    let missing =
        "tracepoint sched/sched_process_forc does not exist in this kernel; see docs/why-is-my-policy-not-ready.md";
    let everywhere = policy(SourceKind::TracingPolicy);
    let mut index = cluster(2);
    for node in ["node1", "node2"] {
        index.set_runtime(node, Some(failing(&everywhere.source, "NoSuchTracepoint", missing)), long_ago());
    }
    check("hook-missing-everywhere", index, everywhere);
    let one = policy(SourceKind::TracingPolicyNamespaced);
    let mut index = cluster(2);
    let old = RuntimeFact { kernel: "5.10.0".into(), ..failing(&one.source, "NoSuchTracepoint", missing) };
    index.set_runtime("node1", Some(old), long_ago());
    check("hook-missing-on-one-node", index, one);
    let early = policy(SourceKind::TracingPolicyNamespaced);
    check("policy-before-stack", cluster(2), refused(early, Reason::NoStack, "", messages::no_stack()));
}

#[test]
fn states_of_sessions() {
    let both = ["node1", "node2"];
    let end = "2026-11-29T17:16:15Z".parse().unwrap();
    let mut index = cluster(2);
    for node in both {
        index.set_runtime(node, Some(reported(SessionState::Running, end, 44)), ago(5));
    }
    check("capture-running", index, session(SourceKind::FlowCapture, &both, end));
    check("namespace-typo", cluster(2), session(SourceKind::AppProfile, &[], end));
    let mut index = cluster(2);
    for node in both {
        index.set_runtime(node, Some(reported(SessionState::Completed, ago(20), 602)), ago(5));
    }
    check("profile-over", index, session(SourceKind::AppProfile, &both, ago(20)));
    let mut index = cluster(2);
    for node in both {
        index.set_runtime(node, Some(reported_encrypted(end)), ago(5));
    }
    let mut requests = session(SourceKind::AppProfile, &both, end);
    requests.asks_for_requests = true;
    if let Requested::Session(session) = &mut requests.requested {
        (session.samples_cpu, session.requests) = (false, Some(RequestsSession::default()));
    }
    check("profile-without-rows", index, requests);
    let mut index = cluster(2);
    let input = session(SourceKind::AppProfile, &both, ago(20));
    let paranoid =
        "CPU samples need perf_event_paranoid <= 2 (this node: 3); set the sysctl, or runtime.allowSysAdmin: true";
    for node in both {
        let refused = reported(SessionState::Refused, ago(20), 0);
        let failing = failing(&input.source, "PerfParanoid", paranoid);
        index.set_runtime(node, Some(RuntimeFact { problems: failing.problems, ..refused }), ago(5));
    }
    check("profile-over-without-result", index, input);
}
