//! The index: requests of AppProfiles, as `kubectl describe` shows them, and every state without rows. The texts are those of
//! docs/why-no-rows.md; `UPDATE_GOLDEN=1` rewrites operator/tests/golden/rows_seen.txt.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use trilobite_crds::{
    Reason, Refusal, RequestRole,
    app_profile::{RequestProtocol, TlsCapture},
    bounds,
    condition::{
        ConditionStatus::{False, True, Unknown},
        ConditionType::{Completed, Degraded, Ready, Reconciling, RowsSeen, Stalled},
        MAX_MESSAGE, find,
    },
    node::{
        NodeProblem, ProtocolRows, RequestsSession, RequestsState, STANDING_PROFILE, SessionState, SessionStatus,
        SourceKind, TlsNotVisible,
    },
};

use super::{
    ComputedStatus,
    tests::{applied, at, compute, condition, ready_nodes, reason, source, stack, state, status_input},
};
use crate::status::{
    controller_report::{Requested, SessionRequest, StatusInput},
    facts::RuntimeFact,
};

const NAME: &str = "appprofile.payments.slow";

fn asked() -> RequestsSession {
    RequestsSession {
        protocols: RequestProtocol::SUPPORTED.to_vec(),
        retain_minutes: 60,
        retain_after_end_minutes: 10,
        ..RequestsSession::default()
    }
}

fn input(nodes: &[&str], requests: RequestsSession) -> StatusInput {
    let session = SessionRequest {
        name: NAME.into(),
        started_at: at(0),
        expires_at: at(900),
        nodes: Some(nodes.iter().map(|node| (*node).to_owned()).collect()),
        full_nodes: BTreeSet::new(),
        out_of_scope: false,
        samples_cpu: false,
        requests: Some(requests),
    };
    let input = status_input(source(SourceKind::AppProfile, "slow"), Requested::Session(session));
    StatusInput { asks_for_requests: true, ..input }
}

fn reported(state: SessionState, requests: Option<RequestsState>) -> RuntimeFact {
    let status = SessionStatus { name: NAME.into(), expires_at: Some(at(900)), state, records: 0, lost: 0, requests };
    RuntimeFact { desired_sessions: vec![(NAME.into(), at(900))], sessions: vec![status], ..applied("new") }
}

/// Two nodes, of which reef-0 has the session and reports `requests`.
fn seen_with(requests: RequestsState, asked: RequestsSession) -> ComputedStatus {
    let mut index = ready_nodes(2);
    index.set_runtime("reef-0", Some(reported(SessionState::Running, Some(requests))), at(5));
    compute(&mut index, input(&["reef-0"], asked), at(30))
}

fn seen(requests: RequestsState) -> ComputedStatus {
    seen_with(requests, asked())
}

fn two_pods(connections: u64) -> RequestsState {
    RequestsState { pods: 2, connections, ..RequestsState::default() }
}

fn refused_by_the_node(reason: &str, message: &str) -> ComputedStatus {
    let mut index = ready_nodes(1);
    let source = source(SourceKind::AppProfile, "slow");
    let problem = NodeProblem { source, reason: reason.into(), field: String::new(), message: message.into() };
    let fact = RuntimeFact { problems: vec![problem], ..reported(SessionState::Refused, None) };
    index.set_runtime("reef-0", Some(fact), at(5));
    compute(&mut index, input(&["reef-0"], asked()), at(30))
}

fn refused(reason: Reason, message: &str) -> ComputedStatus {
    let mut refused = StatusInput { requested: Requested::Nothing, ..input(&[], asked()) };
    refused.refusals = vec![Refusal::new(&refused.source, reason, "", message)];
    compute(&mut ready_nodes(1), refused, at(30))
}

fn invisible(binary: &str, reason: &str, processes: u32) -> TlsNotVisible {
    TlsNotVisible { reason: reason.into(), binary: binary.into(), processes }
}

fn encrypted(tls_not_visible: Vec<TlsNotVisible>) -> RequestsState {
    RequestsState { encrypted: 12, tls_not_visible, ..two_pods(12) }
}

fn speaking(protocols: &[&str]) -> RequestsState {
    RequestsState { other_protocols: protocols.iter().map(|name| (*name).to_owned()).collect(), ..two_pods(3) }
}

fn counted() -> RequestsState {
    let rows = |protocol: &str, rows| ProtocolRows { protocol: protocol.into(), rows };
    RequestsState {
        mid_stream: 1,
        rows: vec![rows("http", 12_000), rows("pgsql", 345)],
        bytes: 7_400_000,
        memory_bytes: 9 << 20,
        oldest_row: Some(at(1)),
        tls_targets: 2,
        ..two_pods(14)
    }
}

/// Every state with its title.
fn states() -> Vec<(&'static str, ComputedStatus)> {
    let asked_for = |change: fn(&mut RequestsSession)| {
        let mut asked = asked();
        change(&mut asked);
        asked
    };
    let over_budget = "64 MiB do not fit into the 512 MiB of this node's profiles: shop/cart 64 MiB and 7 more; end one, or lower memoryBudgetBytes";
    vec![
        ("rows", seen(counted())),
        ("rows, some lost", seen(RequestsState { lost_ring: 3, gaps: 1, gap_bytes: 9, ..counted() })),
        (
            "rows beside TLS",
            seen(RequestsState { encrypted: 4, tls_not_visible: vec![invisible("java", "jsse", 1)], ..counted() }),
        ),
        ("no pod", compute(&mut ready_nodes(2), input(&[], asked()), at(30))),
        ("no pod left", seen(RequestsState::default())),
        ("no traffic", seen(two_pods(0))),
        ("no traffic on the ports", seen_with(two_pods(0), asked_for(|asked| asked.ports = vec![80, 5432]))),
        ("no answer yet", seen(two_pods(4))),
        (
            "nothing slow enough",
            seen_with(two_pods(4), asked_for(|asked| (asked.slower_than_ms, asked.only_errors) = (100, true))),
        ),
        ("all was lost", seen(RequestsState { lost_budget: 40, ..two_pods(4) })),
        ("another protocol", seen(speaking(&["mongodb", "mqtt"]))),
        (
            "a protocol that is left out",
            seen_with(speaking(&["redis"]), asked_for(|asked| asked.protocols = vec![RequestProtocol::Http])),
        ),
        (
            "both",
            seen_with(speaking(&["nats", "redis"]), asked_for(|asked| asked.protocols = vec![RequestProtocol::Http])),
        ),
        ("encrypted", seen(encrypted(vec![invisible("java", "jsse", 3), invisible("api", "go", 1)]))),
        ("encrypted by what is not known", seen(encrypted(Vec::new()))),
        ("encrypted, and left so", seen_with(encrypted(Vec::new()), asked_for(|asked| asked.tls = TlsCapture::Off))),
        (
            "role not seen",
            seen_with(
                RequestsState { other_role: 12, ..two_pods(0) },
                asked_for(|asked| asked.roles = vec![RequestRole::Server]),
            ),
        ),
        ("budget of the node", refused_by_the_node("NodeBudgetExceeded", over_budget)),
        (
            "not supported by the node",
            refused_by_the_node("KernelTooOld", "requests need Linux 5.10; update the node, or exclude it"),
        ),
        (
            "not supported yet",
            refused(
                Reason::Unsupported,
                "spec.requests.protocols[1]: mqtt is not supported yet; supported are http, pgsql, redis, dns",
            ),
        ),
        ("first report", compute(&mut ready_nodes(2), input(&["reef-0"], asked()), at(30))),
    ]
}

#[test]
fn every_state_without_rows_says_what_to_do() {
    let mut text = String::new();
    for (title, computed) in states() {
        let found = condition(&computed, RowsSeen);
        assert!(found.message.chars().count() <= MAX_MESSAGE, "{title}: {}", found.message);
        writeln!(text, "{title}\n  RowsSeen  {:?}  {}  {}", found.status, found.reason, found.message).unwrap();
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rows_seen.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "UPDATE_GOLDEN=1 rewrites it");
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/why-no-rows.md");
    let page = fs::read_to_string(page).unwrap();
    for line in page.lines().filter(|line| line.starts_with("  RowsSeen  ")) {
        assert!(text.contains(line), "docs/why-no-rows.md shows what the operator does not say: {line}");
    }
    for reason in [
        "NoMatchingPods",
        "NoTraffic",
        "OtherProtocol",
        "Encrypted",
        "RoleNotSeen",
        "NodeBudgetExceeded",
        "Unsupported",
    ] {
        assert!(text.contains(&format!("False  {reason}  ")) && page.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn missing_rows_change_no_other_condition() {
    let without = seen(two_pods(0));
    assert_eq!(state(&without, RowsSeen), reason(False, Reason::NoTraffic));
    assert_eq!(state(&without, Ready), reason(True, Reason::Ready));
    assert_eq!(state(&without, Degraded), reason(False, Reason::AsExpected));
    for r#type in [Reconciling, Stalled] {
        assert_eq!(find(&without.status.common.conditions, r#type), None);
    }
}

#[test]
fn a_profile_without_requests_has_no_such_condition() {
    let mut cpu_only = StatusInput { asks_for_requests: false, ..input(&["reef-0"], asked()) };
    if let Requested::Session(session) = &mut cpu_only.requested {
        (session.samples_cpu, session.requests) = (true, None);
    }
    let computed = compute(&mut ready_nodes(1), cpu_only, at(30));
    assert_eq!(find(&computed.status.common.conditions, RowsSeen), None);
    assert_eq!(computed.status.requests, None);
}

#[test]
fn status_has_the_sums_of_all_nodes() {
    let mut index = ready_nodes(3);
    for node in ["reef-0", "reef-1"] {
        index.set_runtime(node, Some(reported(SessionState::Running, Some(counted()))), at(5));
    }
    let computed = compute(&mut index, input(&["reef-0", "reef-1", "reef-2"], asked()), at(30));
    let sums = computed.status.requests.clone().unwrap();
    assert_eq!((sums.nodes, sums.pods, sums.connections, sums.mid_stream), (2, 4, 28, 2));
    assert_eq!((sums.total_rows, sums.rows[0].rows, sums.tls_targets), (24_690, 24_000, 4));
    assert_eq!(bounds::violations(&sums, "status.requests"), []);
    assert_eq!(computed.status.results, None, "no stack was sampled");
    assert_eq!(state(&computed, RowsSeen), reason(True, Reason::RowsSeen));
    let running = condition(&computed, Completed).message;
    assert!(running.ends_with(": 24,690 rows from 2 nodes, 0 lost"), "{running}");
}

#[test]
fn ended_profile_says_how_long_its_rows_can_be_read() {
    let mut index = ready_nodes(1);
    compute(&mut index, input(&["reef-0"], asked()), at(1));
    index.set_runtime("reef-0", Some(reported(SessionState::Completed, Some(counted()))), at(900));
    let ended = compute(&mut index, input(&["reef-0"], asked()), at(901));
    assert_eq!(state(&ended, Completed), reason(True, Reason::DurationElapsed));
    let message = condition(&ended, Completed).message;
    let until = at(900 + 600);
    let expected =
        format!("12,345 rows from 1 node, 0 lost; read them until {until} with: trilobite requests -n payments");
    assert!(message.ends_with(&expected), "{message}");
    let mut dropped = asked();
    dropped.retain_after_end_minutes = 0;
    let ended = compute(&mut index, input(&["reef-0"], dropped), at(901));
    assert!(condition(&ended, Completed).message.ends_with("0 lost"), "they leave with the end");
}

#[test]
fn stack_sums_the_requests_of_its_standing_profile() {
    let standing = |requests| {
        let name = STANDING_PROFILE.to_owned();
        let state = SessionState::Running;
        let status = SessionStatus { name, expires_at: None, state, records: 0, lost: 0, requests: Some(requests) };
        RuntimeFact { sessions: vec![status], ..applied("new") }
    };
    let enabled = |standing| StatusInput { asks_for_requests: true, standing, ..stack() };
    let mut index = ready_nodes(2);
    for node in ["reef-0", "reef-1", "no-such-node"] {
        index.set_runtime(node, Some(standing(counted())), at(5));
    }
    let computed = compute(&mut index, enabled(Some(asked())), at(30));
    assert_eq!(computed.status.requests.as_ref().map(|sums| sums.total_rows), Some(24_690));
    assert_eq!(state(&computed, RowsSeen), reason(True, Reason::RowsSeen));
    assert_eq!(computed.recompute_at, Some(at(60)), "counts are read again");
    index.set_runtime("reef-0", Some(standing(RequestsState::default())), at(6));
    index.set_runtime("reef-1", Some(standing(RequestsState::default())), at(6));
    let computed = compute(&mut index, enabled(Some(asked())), at(30));
    assert_eq!(state(&computed, RowsSeen), reason(False, Reason::NoMatchingPods));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    let computed = compute(&mut index, stack(), at(30));
    assert!(computed.status.requests.is_none() && find(&computed.status.common.conditions, RowsSeen).is_none());
    let mut refused = enabled(None);
    refused.refusals = vec![
        Refusal::new(&refused.source, Reason::InvalidSpec, "spec.security.memoryBudgetBytes", "too small"),
        Refusal::new(&refused.source, Reason::Unsupported, "spec.application.requests.protocols[0]", "kafka"),
    ];
    assert_eq!(state(&compute(&mut index, refused, at(30)), RowsSeen), reason(False, Reason::Unsupported));
}

#[test]
fn rows_are_unknown_until_a_node_reports() {
    let computed = compute(&mut ready_nodes(2), input(&["reef-0"], asked()), at(30));
    assert_eq!(state(&computed, RowsSeen), reason(Unknown, Reason::Progressing));
}

#[test]
fn a_note_of_a_node_leaves_the_profile_ready() {
    let mut index = ready_nodes(1);
    let problem = NodeProblem {
        source: source(SourceKind::AppProfile, "slow"),
        reason: "UprobeRefused".into(),
        field: String::new(),
        message: "TLS is not read on this kernel".into(),
    };
    let fact = RuntimeFact { problems: vec![problem], ..reported(SessionState::Running, Some(counted())) };
    index.set_runtime("reef-0", Some(fact), at(5));
    let computed = compute(&mut index, input(&["reef-0"], asked()), at(30));
    assert_eq!(state(&computed, Ready), reason(True, Reason::Ready));
    let message = condition(&computed, Ready).message;
    assert!(message.ends_with("; UprobeRefused: TLS is not read on this kernel"), "{message}");
}
