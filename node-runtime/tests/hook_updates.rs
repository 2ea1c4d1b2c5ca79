//! Versions of a policy that change while calls are made, as root: each call is reported by one version, and no program is
//! loaded. A longer run: `TRILOBITE_UPDATES=20000`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code, reason = "calls with a chosen number are system calls")]

mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use node::Node;
use serde_json::json;
use trilobite_crds::node::{PodScope, PolicyPart};
use trilobite_node::{
    layers::security::{ArgValue, SecurityEventKind},
    plan::UnitState,
};

/// Set in the process that makes the calls.
const CALLER: &str = "TRILOBITE_UPDATES_CALLER";
const OTHERS: u32 = 200;
const UPDATES: u32 = 60;

/// A policy on openat of one path with a mode up to `highest`: another table of numbers for each version.
fn part(path: &str, highest: u32, version: &str) -> PolicyPart {
    let hook = json!({
        "subsystem": "syscalls", "event": "sys_enter_openat", "message": version,
        "args": [{ "index": 5, "type": "int32" }, { "index": 6, "type": "string" }, { "index": 8, "type": "uint16" }],
        "selectors": [{ "matchArgs": [
            { "index": 6, "operator": "Equal", "values": [path] },
            { "index": 8, "operator": "InRange", "values": [format!("0:{highest}")] },
        ] }],
    });
    let spec = serde_json::from_value(json!({ "tracepoints": [hook] })).unwrap();
    PolicyPart { pods: PodScope::default(), spec: Box::new(spec), ring_bytes: 4 << 20 }
}

/// Asks for an argument that the tracepoint does not have.
fn invalid_part() -> PolicyPart {
    let mut part = part("/no/updates", 1, "invalid");
    part.spec.tracepoints[0].args[0].index = 99;
    part
}

/// Ids of the programs that this process has.
fn programs() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let infos = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let ids = infos.filter_map(|info| {
        let line = info.lines().find(|line| line.starts_with("prog_id:"))?.to_owned();
        info.contains("prog_jited").then_some(line)
    });
    ids.collect()
}

#[tokio::test]
async fn every_call_is_reported_by_one_version_and_nothing_is_loaded() {
    let updates = std::env::var("TRILOBITE_UPDATES").ok().and_then(|text| text.parse().ok()).unwrap_or(UPDATES);
    let mut node = Node::new("updates");
    for number in 0..OTHERS {
        node.request_policy(&format!("other-{number}"), part(&format!("/no/other/{number}"), number, "other"));
    }
    node.request_policy("changes", part("/no/updates", 1, "version-0"));
    let begun = Instant::now();
    let states = node.apply().await;
    println!("{} policies in {:?}", states.len(), begun.elapsed());
    assert!(states.values().all(|state| matches!(state, UnitState::Active { .. })), "{states:?}");
    let before = programs();
    let exe = std::env::current_exe().unwrap();
    let mut child = node.sh(&format!("exec env {CALLER}=1 {} --exact caller --ignored >/dev/null", exe.display()));
    let mut seen: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for update in 1..=updates {
        let is_invalid = update % 5 == 0;
        node.request_policy(
            "changes",
            if is_invalid {
                invalid_part()
            } else {
                part("/no/updates", 1000 + update % 7919, &format!("version-{update}"))
            },
        );
        let begun = Instant::now();
        let states = node.apply().await;
        longest = longest.max(begun.elapsed());
        let refused = states.values().filter(|state| matches!(state, UnitState::Refused(_))).count();
        assert_eq!(refused, usize::from(is_invalid), "update {update}");
        collect(&mut node, Duration::from_millis(1), &mut seen).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    collect(&mut node, Duration::from_millis(500), &mut seen).await;
    assert_eq!(programs(), before, "programs were loaded");
    assert_eq!(node.ledger.losses(), []);
    let last = *seen.keys().next_back().unwrap();
    for number in 0..=last {
        let versions = seen.get(&number).cloned().unwrap_or_default();
        assert_eq!(versions.len(), 1, "call {number} of {last} was reported by {versions:?}");
    }
    let versions: BTreeSet<&String> = seen.values().flatten().collect();
    println!("{} calls by {} versions, the longest update took {longest:?}", last + 1, versions.len());
    assert!(versions.len() > updates as usize / 2, "{versions:?}");
}

async fn collect(node: &mut Node, time: Duration, seen: &mut BTreeMap<i32, Vec<String>>) {
    // Ends without silence too: calls go on all the time.
    for _ in 0..100 {
        let events = node.events_of(time).await;
        if events.is_empty() {
            return;
        }
        for event in events {
            let SecurityEventKind::Hook(hook) = &event.kind else { continue };
            if let Some(ArgValue::Int(number)) = hook.args.first().map(|arg| arg.value.clone())
                && number >= 0
            {
                seen.entry(number).or_default().push(hook.selector.message.to_string());
            }
        }
    }
}

/// Makes numbered calls until it is killed.
#[test]
#[ignore = "run by the test above"]
fn caller() {
    if std::env::var(CALLER).is_err() {
        return;
    }
    for number in 0..i32::MAX {
        // SAFETY: the kernel only reads the path, which it does not find.
        unsafe { libc::syscall(libc::SYS_openat, number, c"/no/updates".as_ptr(), 0, 0) };
        if number % 16 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
