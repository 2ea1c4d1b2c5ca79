//! A policy whose events come faster than the agent reads, as root: it loses events of its own, and what it sent is delivered or
//! counted. Other policies and execs lose nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code, reason = "calls with a chosen path are system calls")]

mod node;

use std::{collections::BTreeMap, ffi::CString, process::Child, sync::Arc, time::Duration};

use node::Node;
use serde_json::json;
use trilobite_crds::node::PolicyPart;
use trilobite_node::{
    layers::security::{SecurityEvent, SecurityEventKind},
    loss::LossPoint,
    plan::UnitState,
};

/// Set in a process that makes calls: the path, their number, and the microseconds between two.
const CALLER: &str = "TRILOBITE_FLOOD_CALLER";
const FLOODING: u64 = 100_000;
const SELDOM: u64 = 200;
/// Between two seldom calls, in microseconds: what is left of the ring has room for those of half a second in which nobody reads.
const PAUSE: u64 = 10_000;
const EXECS: u64 = 100;
/// Without an event for so long, all have been delivered.
const QUIET: Duration = Duration::from_secs(1);

/// A policy that records every openat of a path.
fn part(path: &str) -> PolicyPart {
    let hook = json!({
        "subsystem": "syscalls", "event": "sys_enter_openat",
        "args": [{ "index": 6, "type": "string" }],
        "selectors": [{ "matchArgs": [{ "index": 6, "operator": "Equal", "values": [path] }] }],
    });
    let spec = Arc::new(serde_json::from_value(json!({ "tracepoints": [hook] })).unwrap());
    PolicyPart { pods: Arc::default(), spec, ring_bytes: 64 << 10, dry_run: false }
}

/// A process that makes calls.
fn calls(node: &Node, path: &str, count: u64, pause: u64) -> Child {
    let exe = std::env::current_exe().unwrap();
    node.sh(&format!("exec env {CALLER}={path}:{count}:{pause} {} --exact caller --ignored >/dev/null", exe.display()))
}

/// Delivered events by the policy, and of execs of `true`.
fn count(events: &[Arc<SecurityEvent>], delivered: &mut BTreeMap<String, u64>) {
    for event in events {
        let name = match &event.kind {
            SecurityEventKind::Hook(hook) => hook.selector.policy.to_string(),
            SecurityEventKind::Exec if event.process.process.binary.ends_with("/true") => "exec".to_owned(),
            _ => continue,
        };
        *delivered.entry(name).or_default() += 1;
    }
}

#[tokio::test]
async fn flooding_policy_costs_no_other_policy_and_no_exec() {
    let mut node = Node::new("flood");
    node.request_processes(256 << 10);
    for name in ["floods", "seldom", "also-seldom"] {
        node.request_policy(name, part(&format!("/no/{name}")));
    }
    let states = node.apply().await;
    assert!(states.values().all(|state| matches!(state, UnitState::Active { .. })), "{states:?}");
    let mut callers = vec![
        calls(&node, "/no/floods", FLOODING, 0),
        calls(&node, "/no/floods", FLOODING, 0),
        calls(&node, "/no/seldom", SELDOM, PAUSE),
        calls(&node, "/no/also-seldom", SELDOM, PAUSE),
        node.sh(&format!("i=0; while [ $i -lt {EXECS} ]; do /bin/true; i=$((i+1)); done")),
    ];
    let mut delivered = BTreeMap::new();
    loop {
        let events = node.events_of(QUIET).await;
        count(&events, &mut delivered);
        callers.retain_mut(|child| child.try_wait().unwrap().is_none());
        if callers.is_empty() && events.is_empty() {
            break;
        }
    }
    drop(node.security.counts());
    let losses: Vec<(LossPoint, String, u64)> = node.ledger.losses();
    println!("delivered {delivered:?}, lost {losses:?}");
    let flooding = "TracingPolicy/floods";
    let lost: u64 = losses.iter().filter(|(_, name, _)| name == flooding).map(|(.., count)| count).sum();
    assert!(lost > 0, "nothing was lost: this was no flood");
    assert_eq!(delivered["floods"] + lost, 2 * FLOODING, "{losses:?}");
    let others: Vec<_> = losses.iter().filter(|(_, name, _)| name != flooding).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!((delivered["seldom"], delivered["also-seldom"]), (SELDOM, SELDOM));
    assert_eq!(delivered["exec"], EXECS);
}

/// Makes the calls.
#[test]
#[ignore = "run by the test above"]
fn caller() {
    let Ok(text) = std::env::var(CALLER) else { return };
    let words: Vec<&str> = text.split(':').collect();
    let path = CString::new(words[0]).unwrap();
    let (count, pause): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    for _ in 0..count {
        // SAFETY: the kernel only reads the path, which it does not find.
        unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), 0, 0) };
        if pause > 0 {
            std::thread::sleep(Duration::from_micros(pause));
        }
    }
}
