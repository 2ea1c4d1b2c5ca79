//! Versions of a policy that change while calls are made, as root: each call is reported by one version, and no program is
//! loaded. A longer run: `TRILOBITE_UPDATES=20000 TRILOBITE_POLICIES=1000`.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "calls with a chosen number are system calls")]

mod node;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use node::{Node, note, parameter};
use serde_json::json;
use trilobite_crds::node::PolicyPart;
use trilobite_node::{
    layers::security::{ArgValue, SecurityEventKind},
    plan::UnitState,
};

/// Set in the process that makes the calls: how many between two pauses.
const CALLER: &str = "TRILOBITE_UPDATES_CALLER";
/// Policies on the same hook, and versions of one of them, unless the environment says otherwise.
const POLICIES: u64 = 200;
const UPDATES: u64 = 60;
/// Calls whose events may still come, while events of later ones are there already.
const LATE_CALLS: usize = 4096;

/// A policy on openat of one path with a mode up to `highest`: another table of numbers for each version.
fn part(path: &str, highest: u64, version: &str) -> PolicyPart {
    let hook = json!({
        "subsystem": "syscalls", "event": "sys_enter_openat", "message": version,
        "args": [{ "index": 5, "type": "int32" }, { "index": 6, "type": "string" }, { "index": 8, "type": "uint16" }],
        "selectors": [{ "matchArgs": [
            { "index": 6, "operator": "Equal", "values": [path] },
            { "index": 8, "operator": "InRange", "values": [format!("0:{highest}")] },
        ] }],
    });
    let spec = serde_json::from_value(json!({ "tracepoints": [hook] })).unwrap();
    PolicyPart { pods: Arc::default(), spec: Arc::new(spec), ring_bytes: 4 << 20, dry_run: false }
}

/// Asks for an argument that the tracepoint does not have.
fn invalid_part() -> PolicyPart {
    let mut part = part("/no/updates", 1, "invalid");
    Arc::make_mut(&mut part.spec).tracepoints[0].args[0].index = 99;
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

/// Calls by number, and the versions that reported them.
#[derive(Default)]
struct ReportedCalls {
    /// All calls below were reported by exactly one version.
    checked: i32,
    versions_of: BTreeMap<i32, Vec<Arc<str>>>,
    versions: HashSet<Arc<str>>,
}

impl ReportedCalls {
    fn add(&mut self, number: i32, version: &Arc<str>) {
        assert!(number >= self.checked, "call {number} was reported again, by {version}");
        self.versions_of.entry(number).or_default().push(version.clone());
        if !self.versions.contains(version) {
            self.versions.insert(version.clone());
        }
    }

    /// Checks all calls but the last `late` ones.
    fn check(&mut self, late: usize) {
        while self.versions_of.len() > late {
            let versions = self.versions_of.remove(&self.checked).unwrap_or_default();
            assert_eq!(versions.len(), 1, "call {} was reported by {versions:?}", self.checked);
            self.checked += 1;
        }
    }
}

#[tokio::test]
async fn every_call_is_reported_by_one_version_and_nothing_is_loaded() {
    let updates = parameter("TRILOBITE_UPDATES", UPDATES);
    let policies = parameter("TRILOBITE_POLICIES", POLICIES);
    let mut node = Node::new("updates");
    for number in 1..policies {
        node.request_policy(&format!("other-{number}"), part(&format!("/no/other/{number}"), number, "other"));
    }
    node.request_policy("changes", part("/no/updates", 1, "version-0"));
    let begun = Instant::now();
    let states = node.apply().await;
    note(&format!("{} policies of one hook: active in {:?}", states.len(), begun.elapsed()));
    assert!(states.values().all(|state| matches!(state, UnitState::Active { .. })), "{states:?}");
    let before = programs();
    let exe = std::env::current_exe().unwrap();
    // Events wait for the test to read them while a change of many policies is applied.
    let at_once = (16 * POLICIES / policies).clamp(1, 16);
    let mut child =
        node.sh(&format!("exec env {CALLER}={at_once} {} --exact caller --ignored >/dev/null", exe.display()));
    let mut reported = ReportedCalls::default();
    let mut times = Vec::new();
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
        times.push(begun.elapsed());
        let refused = states.values().filter(|state| matches!(state, UnitState::Refused(_))).count();
        assert_eq!(refused, usize::from(is_invalid), "update {update}");
        collect(&mut node, Duration::from_millis(1), &mut reported).await;
        reported.check(LATE_CALLS);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    collect(&mut node, Duration::from_millis(500), &mut reported).await;
    assert_eq!(programs(), before, "programs were loaded");
    assert_eq!(node.ledger.losses(), []);
    reported.check(0);
    times.sort();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    let versions = reported.versions.len();
    note(&format!(
        "{updates} versions of one of {policies} policies: {} calls reported by {versions} versions, each call by one; \
         an update took {median:?}, the longest {longest:?}",
        reported.checked
    ));
    assert!(versions > updates as usize / 2, "{versions} of {updates} versions reported a call");
}

async fn collect(node: &mut Node, time: Duration, reported: &mut ReportedCalls) {
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
                reported.add(number, &hook.selector.message);
            }
        }
    }
}

/// Makes numbered calls until it is killed.
#[test]
#[ignore = "run by the test above"]
fn caller() {
    let Some(at_once) = std::env::var(CALLER).ok().and_then(|text| text.parse::<i32>().ok()) else { return };
    for number in 0..i32::MAX {
        // SAFETY: the kernel only reads the path, which it does not find.
        unsafe { libc::syscall(libc::SYS_openat, number, c"/no/updates".as_ptr(), 0, 0) };
        if number % at_once == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
