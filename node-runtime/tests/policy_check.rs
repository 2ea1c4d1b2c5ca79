//! Policies that are checked and not loaded, in the running kernel, as root.

#![allow(clippy::unwrap_used)]

mod node;

use std::{collections::BTreeMap, sync::Arc};

use node::Node;
use serde_json::{Value, json};
use trilobite_crds::node::PolicyPart;
use trilobite_node::{
    kernel::account,
    plan::{UnitKey, UnitState},
    problem::Problem,
};

fn part(spec: Value, dry_run: bool) -> PolicyPart {
    let spec = Arc::new(serde_json::from_value(spec).unwrap());
    PolicyPart { pods: Arc::default(), spec, ring_bytes: 1 << 20, dry_run }
}

fn raw(event: &str) -> Value {
    json!({ "tracepoints": [{ "subsystem": "sched", "event": event, "raw": true }] })
}

fn state(states: &BTreeMap<UnitKey, UnitState>, name: &str) -> UnitState {
    states.iter().find(|(key, _)| &*key.name == name).map(|(_, state)| state.clone()).unwrap()
}

#[tokio::test]
async fn check_loads_nothing_and_says_what_applying_says() {
    let mut node = Node::new("check");
    let policies = [
        ("good", raw("sched_process_exec")),
        ("missing", raw("no_such_event")),
        ("function", json!({ "kprobes": [{ "call": "no_such_function_of_any_kernel", "syscall": false }] })),
        (
            "signal",
            json!({ "tracepoints": [{
            "subsystem": "sched", "event": "sched_process_fork", "raw": true,
            "selectors": [{ "matchActions": [{ "action": "Sigkill" }] }],
        }] }),
        ),
    ];
    let before = account();
    for (name, spec) in &policies {
        node.request_policy(name, part(spec.clone(), true));
    }
    let checked = node.apply().await;
    assert_eq!(account(), before, "a program or a map was loaded");
    // A forked shell would be killed by the last policy.
    node.sh("/bin/true").wait().unwrap();

    node.request_nothing();
    for (name, spec) in &policies {
        node.request_policy(name, part(spec.clone(), false));
    }
    let applied = node.apply().await;
    for (name, _) in &policies {
        assert_eq!(state(&checked, name), state(&applied, name), "{name}");
    }
    assert!(matches!(state(&checked, "missing"), UnitState::Refused(Problem::NoSuchTracepoint { .. })), "{checked:?}");
    assert!(matches!(state(&checked, "good"), UnitState::Active { .. }));
}

#[tokio::test]
async fn check_beside_active_policies_changes_nothing_of_them() {
    let mut node = Node::new("check-beside");
    node.request_policy("active", part(raw("sched_process_exec"), false));
    node.apply().await;
    let before = account();
    node.request_policy("same-hook", part(raw("sched_process_exec"), true));
    node.request_policy("missing", part(raw("no_such_event"), true));
    let states = node.apply().await;
    assert_eq!(account(), before);
    assert!(matches!(state(&states, "same-hook"), UnitState::Active { .. }), "{states:?}");
    assert!(matches!(state(&states, "missing"), UnitState::Refused(_)));
    let mut child = node.sh("/bin/true");
    let events = node.events().await;
    child.wait().unwrap();
    assert_eq!(events.len(), 2, "the shell and its child, of the active policy alone");
}
