//! Tracepoints of policies in the running kernel, as root.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use node::Node;
use serde_json::{Value, json};
use trilobite_crds::node::PolicyPart;
use trilobite_node::{
    kernel::{Account, account},
    layers::security::{ArgValue, SecurityEvent, SecurityEventKind},
    plan::{UnitKey, UnitState},
    problem::Problem,
};

fn hook(raw: bool, subsystem: &str, event: &str, args: &[(u32, &str)]) -> Value {
    let args: Vec<Value> = args.iter().map(|(index, r#type)| json!({"index": index, "type": r#type})).collect();
    json!({
        "subsystem": subsystem, "event": event, "raw": raw, "message": "seen", "tags": ["observability.process"],
        "args": args,
    })
}

fn part(hooks: Vec<Value>) -> PolicyPart {
    let spec = serde_json::from_value(json!({ "tracepoints": hooks })).unwrap();
    PolicyPart { pods: Arc::default(), spec: Arc::new(spec), ring_bytes: 1 << 20, dry_run: false }
}

fn of_policy(events: &[Arc<SecurityEvent>], name: &str) -> Vec<(Arc<SecurityEvent>, Vec<ArgValue>)> {
    let found = events.iter().filter_map(|event| match &event.kind {
        SecurityEventKind::Hook(hook) if *hook.selector.policy == *name => {
            Some((event.clone(), hook.args.iter().map(|arg| arg.value.clone()).collect()))
        }
        _ => None,
    });
    found.collect()
}

fn is_active(states: &BTreeMap<UnitKey, UnitState>, name: &str) -> bool {
    states.iter().any(|(key, state)| &*key.name == name && matches!(state, UnitState::Active { .. }))
}

fn refusal(states: &BTreeMap<UnitKey, UnitState>, name: &str) -> Problem {
    let state = states.iter().find(|(key, _)| &*key.name == name).map(|(_, state)| state.clone());
    match state {
        Some(UnitState::Refused(problem)) => problem,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn classic_tracepoint_reports_fields_of_its_record() {
    let mut node = Node::new("classic");
    let fields = [(4, "auto"), (5, "auto"), (6, "int64")];
    node.request_policy("execs", part(vec![hook(false, "sched", "sched_process_exec", &fields)]));
    let states = node.apply().await;
    assert!(is_active(&states, "execs"), "{states:?}");
    let mut child = node.sh("/bin/true");
    let events = node.events().await;
    child.wait().unwrap();
    let reported = of_policy(&events, "execs");
    let (event, args) = reported.iter().find(|(_, args)| args[0] == ArgValue::String("/bin/true".into())).unwrap();
    let pid = event.process.process.key.pid;
    assert_eq!(args[1..], [ArgValue::Int(pid.cast_signed()), ArgValue::Long(pid.into())]);
    assert_eq!(event.process.process.binary, "/bin/true");
    assert!(event.parent.is_some());
    assert!(events.iter().all(|event| matches!(event.kind, SecurityEventKind::Hook(_))));
}

#[tokio::test]
async fn user_string_and_system_call_are_read() {
    let mut node = Node::new("syscalls");
    node.request_policy("opens", part(vec![hook(false, "syscalls", "sys_enter_openat", &[(6, "string")])]));
    node.request_policy("calls", part(vec![hook(true, "raw_syscalls", "sys_enter", &[(1, "syscall64")])]));
    let states = node.apply().await;
    assert!(is_active(&states, "opens") && is_active(&states, "calls"), "{states:?}");
    let mut child = node.sh("/bin/cat /proc/sys/kernel/ostype >/dev/null");
    let events = node.events().await;
    child.wait().unwrap();
    let opens = of_policy(&events, "opens");
    assert!(opens.iter().any(|(_, args)| args[0] == ArgValue::String("/proc/sys/kernel/ostype".into())));
    let execve = ArgValue::Syscall { id: 59, abi: "x64" };
    assert!(of_policy(&events, "calls").iter().any(|(_, args)| args[0] == execve));
}

#[tokio::test]
async fn long_string_is_reported_as_cut() {
    let mut node = Node::new("cut");
    node.request_policy("opens", part(vec![hook(false, "syscalls", "sys_enter_openat", &[(6, "string")])]));
    node.apply().await;
    let dots = "./".repeat(2200);
    let mut child = node.sh(&format!("/bin/cat /proc/{dots}sys/kernel/ostype >/dev/null"));
    let events = node.events().await;
    child.wait().unwrap();
    let expected = format!("/proc/{}", &dots[..4089]) + "…";
    assert!(of_policy(&events, "opens").iter().any(|(_, args)| args[0] == ArgValue::String(expected.clone())));
}

#[tokio::test]
async fn unsupported_policy_blocks_no_other() {
    let mut node = Node::new("bad");
    node.request_policy("good", part(vec![hook(true, "sched", "sched_process_exec", &[])]));
    node.request_policy("no-classic", part(vec![hook(false, "sched", "no_such_event", &[])]));
    node.request_policy("no-raw", part(vec![hook(true, "sched", "no_such_event", &[])]));
    node.request_policy("no-arg", part(vec![hook(true, "sched", "sched_process_exec", &[(7, "auto")])]));
    let states = node.apply().await;
    assert!(is_active(&states, "good"), "{states:?}");
    let name = "sched/no_such_event".to_owned();
    let missing = Problem::NoSuchTracepoint { name, field: "spec.tracepoints[0].event".into() };
    assert_eq!(refusal(&states, "no-classic"), missing);
    assert_eq!(refusal(&states, "no-raw"), missing);
    assert_eq!(refusal(&states, "no-arg").field(), "spec.tracepoints[0].args[0].index");
}

#[tokio::test]
async fn function_that_cannot_be_attached_to_blocks_no_other() {
    let mut node = Node::new("function");
    let function = |call: &str| {
        let spec = json!({ "kprobes": [{ "call": call, "syscall": false }] });
        PolicyPart {
            pods: Arc::default(),
            spec: Arc::new(serde_json::from_value(spec).unwrap()),
            ring_bytes: 1 << 20,
            dry_run: false,
        }
    };
    node.request_policy("good", part(vec![hook(true, "sched", "sched_process_exec", &[])]));
    node.request_policy("missing", function("no_such_function_of_any_kernel"));
    // Refused where the kernel has no way to attach to functions, active elsewhere.
    node.request_policy("function", function("security_inode_symlink"));
    let states = node.apply().await;
    assert!(is_active(&states, "good"), "{states:?}");
    assert!(matches!(refusal(&states, "missing"), Problem::NoSuchFunction { .. }), "{states:?}");
    let mut child = node.sh("/bin/true");
    let events = node.events().await;
    child.wait().unwrap();
    assert_eq!(of_policy(&events, "good").len(), 2);
}

#[tokio::test]
async fn new_version_takes_over_without_gap_or_duplicate() {
    let mut node = Node::new("versions");
    let version = |index: u32| part(vec![hook(true, "sched", "sched_process_exec", &[(1, "int32")]); index as usize]);
    node.request_policy("execs", version(1));
    node.apply().await;
    let count = 2000;
    let mut child = node.sh(&format!("i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done"));
    for tags in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let mut next = version(1);
        Arc::make_mut(&mut next.spec).tracepoints[0].tags = vec![format!("version-{tags}")];
        node.request_policy("execs", next);
        let states = node.apply().await;
        assert!(is_active(&states, "execs"), "{states:?}");
    }
    let events = node.events().await;
    child.wait().unwrap();
    let reported = of_policy(&events, "execs");
    let mut keys: Vec<_> = reported.iter().map(|(event, _)| event.process.process.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((reported.len(), keys.len()), (count + 1, count + 1));
}

#[tokio::test]
async fn failed_version_leaves_the_previous_one_active() {
    let mut node = Node::new("fallback");
    node.request_policy("execs", part(vec![hook(true, "sched", "sched_process_exec", &[])]));
    node.apply().await;
    node.request_policy("execs", part(vec![hook(true, "sched", "no_such_event", &[])]));
    let states = node.apply().await;
    assert!(matches!(refusal(&states, "execs"), Problem::NoSuchTracepoint { .. }));
    let mut child = node.sh("/bin/true");
    let events = node.events().await;
    child.wait().unwrap();
    assert_eq!(of_policy(&events, "execs").len(), 2);
}

#[tokio::test]
async fn full_ring_counts_losses_for_its_policy() {
    let mut node = Node::new("full");
    let mut small = part(vec![hook(true, "sched", "sched_process_exec", &[])]);
    small.ring_bytes = 4096;
    node.request_policy("execs", small);
    node.apply().await;
    // The runtime has one thread, so that the ring is not read while this waits.
    node.sh("i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done").wait().unwrap();
    let events = node.events().await;
    let counts = node.security.counts();
    let count = counts.values().next().unwrap();
    assert_eq!(count.records, of_policy(&events, "execs").len() as u64);
    assert!(count.lost > 0);
    assert_eq!(count.records + count.lost, 501);
}

#[tokio::test]
async fn many_policies_at_once_delay_no_task_and_lose_no_process() {
    let mut node = Node::new("many");
    // The loop below fills the ring several times before all are active.
    node.request_processes(256 << 10);
    node.apply().await;
    let runs = Arc::new(AtomicU64::new(0));
    let other = tokio::spawn({
        let runs = runs.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                runs.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut child = node.sh("while :; do /bin/true; done");
    // Nothing of the kind happens meanwhile. Each event is a program of its own.
    let events = ["rename", "freeze", "unfreeze", "transfer_tasks", "setup_root", "destroy_root", "remount", "release"];
    for number in 0..12 {
        let hooks = events.map(|event| hook(true, "cgroup", &format!("cgroup_{event}"), &[])).to_vec();
        node.request_policy(&format!("many-{number}"), part(hooks));
    }
    let begun = Instant::now();
    let states = node.apply().await;
    println!("{} policies in {:?}", states.len(), begun.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();
    other.abort();
    assert!((0..12).all(|number| is_active(&states, &format!("many-{number}"))), "{states:?}");
    let losses = node.identity.losses();
    assert_eq!((losses.records(), losses.map_full), (0, 0), "{losses:?}");
    let runs = runs.load(Ordering::Relaxed);
    assert!(runs >= 4, "another task of the agent ran {runs} times");
}

#[tokio::test]
async fn policy_with_a_failing_hook_leaves_nothing_in_the_kernel() {
    let mut node = Node::new("half");
    let good = hook(true, "sched", "sched_process_exec", &[]);
    node.request_policy("half", part(vec![good, hook(true, "sched", "no_such_event", &[])]));
    let states = node.apply().await;
    assert!(matches!(refusal(&states, "half"), Problem::NoSuchTracepoint { .. }));
    assert_eq!(account(), Account::default());
}

#[tokio::test]
async fn last_records_of_a_policy_are_reported_before_it_unloads() {
    let mut node = Node::new("last");
    node.request_policy("execs", part(vec![hook(true, "sched", "sched_process_exec", &[])]));
    node.apply().await;
    // The runtime has one thread, so that the ring is not read while this waits.
    node.sh("i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done").wait().unwrap();
    node.request_nothing();
    node.apply().await;
    let events = node.events().await;
    assert_eq!(of_policy(&events, "execs").len(), 3001);
}

#[tokio::test]
async fn next_version_gets_a_ring_of_its_size() {
    let mut node = Node::new("sizes");
    let mut small = part(vec![hook(true, "sched", "sched_process_exec", &[])]);
    small.ring_bytes = 4096;
    node.request_policy("execs", small);
    node.apply().await;
    node.request_policy("execs", part(vec![hook(true, "sched", "sched_process_exec", &[])]));
    node.apply().await;
    node.sh("i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done").wait().unwrap();
    let events = node.events().await;
    assert_eq!(of_policy(&events, "execs").len(), 501);
}

#[tokio::test]
async fn nothing_stays_in_the_kernel_after_the_last_policy() {
    let mut node = Node::new("gone");
    node.request_policy("a", part(vec![hook(true, "sched", "sched_process_exec", &[])]));
    node.request_policy("b", part(vec![hook(true, "sched", "sched_process_exit", &[])]));
    node.apply().await;
    assert!(account().programs >= 7);
    node.request_nothing();
    node.apply().await;
    assert_eq!(account(), Account::default());
}
