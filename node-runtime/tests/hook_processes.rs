//! What policies know of processes beyond the call, as root: what they inherited, and what changed since their exec.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code, reason = "namespaces, capabilities and forks of a process that only opens files")]

mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString},
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use node::Node;
use serde_json::{Value, json};
use trilobite_crds::node::PolicyPart;
use trilobite_node::{
    layers::security::{ArgValue, SecurityEventKind},
    plan::UnitState,
};

/// Set in the process that changes its namespaces and capabilities.
const CHANGER: &str = "TRILOBITE_CHANGING_PROCESS";
const CAP_CHOWN: u32 = 0;
const CAP_SYS_NICE: u32 = 23;

/// A policy on the opening of files whose names begin with `/no/`. They do not exist.
fn opens(selector: &Value) -> PolicyPart {
    let mut selector = selector.clone();
    selector["matchArgs"] = json!([{"index": 6, "operator": "Prefix", "values": ["/no/"]}]);
    let hook = json!({
        "subsystem": "syscalls", "event": "sys_enter_openat",
        "args": [{"index": 6, "type": "string"}], "selectors": [selector],
    });
    let part = json!({"pods": {}, "spec": {"tracepoints": [hook]}, "ringBytes": 1 << 20});
    serde_json::from_value(part).unwrap()
}

async fn apply(node: &mut Node, policies: &[(&str, Value)]) {
    node.request_nothing();
    node.request_processes(1 << 20);
    policies.iter().for_each(|(name, selector)| node.request_policy(name, opens(selector)));
    let states = node.apply().await;
    assert!(states.values().all(|state| matches!(state, UnitState::Active { .. })), "{states:?}");
}

/// Names of the opened files, by policy.
async fn opened(node: &mut Node) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in node.events().await {
        let SecurityEventKind::Hook(hook) = &event.kind else { continue };
        let ArgValue::String(path) = &hook.args[0].value else { panic!("{hook:?}") };
        let name = path.strip_prefix("/no/").unwrap().to_owned();
        assert!(found.entry(hook.selector.policy.to_string()).or_default().insert(name), "{path} twice: {hook:?}");
    }
    found
}

fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What each policy must have reported; policies without an event need not be listed.
fn expected(of_policies: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    of_policies.iter().map(|(policy, files)| ((*policy).to_owned(), names(files))).collect()
}

/// A directory with a shell of its own name, in which processes wait for a file.
struct Fixture(PathBuf);

impl Fixture {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("trilobite-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // The kernel's path has no links in it.
        let dir = dir.canonicalize().unwrap();
        for shell in ["reef", "tide"] {
            fs::copy("/bin/sh", dir.join(shell)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A line of shell that says `ready-NAME` and goes on when `go` exists.
    fn wait(&self, name: &str) -> String {
        format!(": > {}; while [ ! -e {} ]; do sleep 0.05; done", self.path(&format!("ready-{name}")), self.path("go"))
    }

    fn wait_until_ready(&self, name: &str) {
        let begun = Instant::now();
        while !self.0.join(format!("ready-{name}")).exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn go(&self) {
        fs::write(self.0.join("go"), "").unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.go();
        std::thread::sleep(Duration::from_millis(200));
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn wait_for(children: impl IntoIterator<Item = Child>) {
    for mut child in children {
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn descendants_of_a_binary_are_followed() {
    let mut node = Node::new("binaries");
    let fixture = Fixture::new("binaries");
    let (reef, wait) = (fixture.path("reef"), |name| fixture.wait(name));
    // Without any policy: what ran before is classified when the policies come.
    apply(&mut node, &[]).await;
    let running = node.sh(&format!(
        "{reef} -c '{}; cat /no/running; sh -c \"cat /no/grandchild; true\"; true'; true",
        wait("running")
    ));
    let orphan = node.sh(&format!("{reef} -c '(setsid sh -c \"{}; cat /no/orphan; true\" &)'; true", wait("orphan")));
    let other = node.sh(&format!("sh -c '{}; cat /no/other; true'; true", wait("other")));
    ["running", "orphan", "other"].iter().for_each(|name| fixture.wait_until_ready(name));
    let of_binary = |filter: &str, operator: &str| json!({filter: [{"operator": operator, "values": ["/no/such/file", reef], "followChildren": true}]});
    let policies = [
        ("tree", of_binary("matchBinaries", "In")),
        ("parents", of_binary("matchParentBinaries", "In")),
        ("others", of_binary("matchBinaries", "NotIn")),
        ("alone", json!({"matchBinaries": [{"operator": "In", "values": [reef]}]})),
    ];
    apply(&mut node, &policies).await;
    fixture.go();
    let outside = node.sh("cat /no/outside; true");
    let inside = node.sh(&format!(
        "{reef} -c 'cat /no/child; read x </no/self; sh -c \"cat /no/deep; exec cat /no/exec\"; true'; \
         {reef} -c 'exec cat /no/replaced'; true"
    ));
    let found = opened(&mut node).await;
    wait_for([running, orphan, other, outside, inside]);
    assert_eq!(
        found,
        expected(&[
            ("tree", "running grandchild orphan child self deep exec replaced"),
            ("parents", "running grandchild orphan child deep exec"),
            ("others", "other outside"),
            ("alone", "self"),
        ])
    );
}

#[tokio::test]
async fn condition_that_is_gone_leaves_no_process_to_the_next_one() {
    let mut node = Node::new("stale");
    let fixture = Fixture::new("stale");
    let tree = |path: String| json!({"matchBinaries": [{"operator": "In", "values": [path], "followChildren": true}]});
    apply(&mut node, &[("one", tree(fixture.path("reef")))]).await;
    let running = node.sh(&format!("{} -c '{}; cat /no/stale; true'; true", fixture.path("reef"), fixture.wait("one")));
    fixture.wait_until_ready("one");
    // The bit of a condition is kept for one change more, and then given to the next condition.
    for path in ["/no/such/a", "/no/such/b"] {
        apply(&mut node, &[("one", tree(path.into()))]).await;
    }
    apply(&mut node, &[("one", tree(fixture.path("tide")))]).await;
    fixture.go();
    let new = node.sh(&format!(
        "{} -c 'cat /no/new; true'; {} -c 'cat /no/old; true'; true",
        fixture.path("tide"),
        fixture.path("reef")
    ));
    let found = opened(&mut node).await;
    wait_for([running, new]);
    assert_eq!(found, expected(&[("one", "new")]));
}

#[tokio::test]
async fn descendants_of_a_pid_are_followed() {
    let mut node = Node::new("pids");
    let fixture = Fixture::new("pids");
    apply(&mut node, &[]).await;
    let first = node
        .sh(&format!("{}; cat /no/forked; read x </no/own; sh -c 'cat /no/deep; true'; true", fixture.wait("first")));
    // Process 1 of a pid namespace, as a container's first one.
    let contained =
        |name: &str, script: &str| format!("unshare --pid --fork sh -c '{}; {script}; true'; true", fixture.wait(name));
    let container = node.sh(&contained("container", "cat /no/inside; read x </no/init"));
    ["first", "container"].iter().for_each(|name| fixture.wait_until_ready(name));
    let of_pid = |operator: &str, pid: u32, is_namespaced: bool, follows: bool| {
        let filter =
            json!({"operator": operator, "values": [pid], "isNamespacePID": is_namespaced, "followForks": follows});
        json!({"matchPIDs": [filter]})
    };
    let policies = [
        ("tree", of_pid("In", first.id(), false, true)),
        ("alone", of_pid("In", first.id(), false, false)),
        ("not-tree", of_pid("NotIn", first.id(), false, true)),
        ("container", of_pid("In", 1, true, true)),
        ("not-container", of_pid("NotIn", 1, true, true)),
        ("host", of_pid("In", 0, true, true)),
        ("host-alone", of_pid("In", 0, true, false)),
    ];
    // In a container all processes descend from a first one.
    let is_machine = fs::read_link("/proc/self/ns/pid").unwrap().to_str() == Some("pid:[4026531836]");
    assert!(is_machine, "this test needs the initial pid namespace");
    apply(&mut node, &policies).await;
    fixture.go();
    let new = node.sh(&contained("new", "cat /no/later"));
    let outside = node.sh("cat /no/outside; true");
    let found = opened(&mut node).await;
    let (of_host, of_containers) = ("forked own deep outside", "inside init later");
    wait_for([first, container, new, outside]);
    assert_eq!(
        found,
        expected(&[
            ("tree", "forked own deep"),
            ("alone", "own"),
            ("not-tree", "outside inside init later"),
            ("container", of_containers),
            ("not-container", of_host),
            ("host", of_host),
            ("host-alone", of_host),
        ])
    );
}

#[tokio::test]
async fn changes_since_the_exec_are_matched() {
    let mut node = Node::new("changes");
    let namespaces =
        |operator: &str, kind: &str| json!({"matchNamespaceChanges": [{"operator": operator, "values": [kind]}]});
    let capabilities = |operator: &str, set: &str, name: &str, is_namespaced: bool| {
        let filter =
            json!({"operator": operator, "type": set, "values": [name], "isNamespaceCapability": is_namespaced});
        json!({"matchCapabilityChanges": [filter]})
    };
    let policies = [
        ("uts", namespaces("In", "Uts")),
        ("net", namespaces("In", "Net")),
        ("not-uts", namespaces("NotIn", "Uts")),
        ("chown", capabilities("In", "Effective", "CAP_CHOWN", false)),
        ("permitted", capabilities("In", "Permitted", "CAP_SYS_NICE", false)),
        ("permitted-chown", capabilities("In", "Permitted", "CAP_CHOWN", false)),
        ("not-chown", capabilities("NotIn", "Effective", "CAP_CHOWN", false)),
        ("not-admin", capabilities("NotIn", "Effective", "CAP_SYS_ADMIN", false)),
        ("namespaced", capabilities("In", "Effective", "CAP_CHOWN", true)),
    ];
    apply(&mut node, &policies).await;
    let exe = std::env::current_exe().unwrap();
    let changer = node.sh(&format!("exec env {CHANGER}=1 {} --exact changer --ignored >/dev/null", exe.display()));
    let found = opened(&mut node).await;
    wait_for([changer]);
    assert_eq!(
        found,
        expected(&[
            ("uts", "uts forked net chown nice"),
            ("net", "net chown nice"),
            ("not-uts", "net chown nice"),
            ("chown", "chown nice"),
            ("permitted", "nice"),
            ("not-admin", "chown nice"),
        ])
    );
}

/// Binary ids are in maps that end with the last policy, and with rings of another size.
#[tokio::test]
async fn policy_that_comes_back_finds_its_binaries_again() {
    let mut node = Node::new("again");
    let fixture = Fixture::new("again");
    let reef = fixture.path("reef");
    let policies = [
        ("binary", json!({"matchBinaries": [{"operator": "In", "values": [reef]}]})),
        ("tree", json!({"matchBinaries": [{"operator": "In", "values": [reef], "followChildren": true}]})),
    ];
    for round in ["first", "second"] {
        apply(&mut node, &policies).await;
        let child = node.sh(&format!("{reef} -c 'read x </no/{round}'; true"));
        assert_eq!(opened(&mut node).await, expected(&[("binary", round), ("tree", round)]));
        wait_for([child]);
        apply(&mut node, &[]).await;
    }
    apply(&mut node, &policies).await;
    for (name, selector) in &policies {
        node.request_policy(name, PolicyPart { ring_bytes: 2 << 20, ..opens(selector) });
    }
    node.apply().await;
    let child = node.sh(&format!("{reef} -c 'read x </no/ring'; true"));
    assert_eq!(opened(&mut node).await, expected(&[("binary", "ring"), ("tree", "ring")]));
    wait_for([child]);
}

fn open(path: &CStr) {
    // SAFETY: the path is a C string; the file does not exist.
    unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
}

fn unshare(flags: libc::c_int) {
    // SAFETY: numbers only; it changes this thread.
    assert_eq!(unsafe { libc::unshare(flags) }, 0, "{}", std::io::Error::last_os_error());
}

/// Takes a capability from the effective set of this thread, and from the permitted one too.
fn drop_capability(number: u32, permitted_too: bool) {
    // struct __user_cap_header_struct of version 3, and two __user_cap_data_struct: effective, permitted, inheritable.
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: both are as long as the kernel reads and writes.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) }, 0);
    sets[0] &= !(1 << number);
    if permitted_too {
        sets[1] &= !(1 << number);
    }
    // SAFETY: the same.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }, 0);
}

/// Changes itself and opens files, in a process of its own.
#[test]
#[ignore = "run by a test above"]
fn changer() {
    if std::env::var_os(CHANGER).is_none() {
        return;
    }
    let forked = CString::new("/no/forked").unwrap();
    open(c"/no/before");
    unshare(libc::CLONE_NEWUTS);
    open(c"/no/uts");
    // SAFETY: the child opens a file and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        open(&forked);
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child; no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    unshare(libc::CLONE_NEWNET);
    open(c"/no/net");
    drop_capability(CAP_CHOWN, false);
    open(c"/no/chown");
    drop_capability(CAP_SYS_NICE, true);
    open(c"/no/nice");
    panic!("{}", Command::new("/bin/cat").arg("/no/executed").exec());
}
