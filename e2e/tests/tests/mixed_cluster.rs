//! Policies on a cluster of two kernels: node2 is a QEMU guest with Debian's 6.12, node1 is this machine, whose kernel may refuse
//! kprobe and fentry. `make test-mixed` starts it.
//!
//! The first policy kills on node2 whatever connects to another port than 80 and 443, kubelet too, to which containerd serves
//! `kubectl exec` on a port of its own. So nothing is executed in a pod of node2 while it is active: what pods do is started
//! before, and read from their logs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::Path};

use serde_json::Value;
use trilobite_cluster::workspace_root;
use trilobite_crds::schema::cilium_crds;
use trilobite_e2e::{
    Fixture, Kubectl, agents,
    clients::Stream,
    eventually,
    fixture::{DeleteOnDrop, NAMESPACE, condition},
    pods::{self, Workload},
    wait::that,
};

const OUTBOUND: &str = "detect-unexpected-outbound";
const DOWNLOADS: &str = "detect-download-tools";

/// Prints after each connection how many bytes came in all.
const LISTEN: &str =
    r#"[sh, -c, "touch /tmp/all; while true; do nc -l -p 4444 >>/tmp/all; echo bytes $(wc -c </tmp/all); done"]"#;

/// Runs a download tool every other second: busybox by another name.
const DOWNLOAD: &str = r#"[sh, -c, "mkdir -p /usr/bin; cp /bin/busybox /usr/bin/curl; while true; do /usr/bin/curl; cat /dev/null; sleep 2; done"]"#;

/// Sends a line to port 4444 every other second, and prints the status of each client: 137 is one that signal 9 ended.
fn send_to(address: &str) -> String {
    format!(r#"[sh, -c, "while true; do echo hello | nc -w 10 {address} 4444; echo status $?; sleep 2; done"]"#)
}

#[test]
fn client_is_killed_on_one_kernel_and_policy_refused_on_the_other() {
    let fixture = prepared();
    let kubectl = &fixture.kubectl;
    start_on_the_guest(kubectl, "listener", LISTEN);
    start_on_the_guest(kubectl, "client", &send_to(&pods::address(kubectl, "mixed", "listener", 0)));
    start_on_the_guest(kubectl, "downloader", DOWNLOAD);
    eventually("the listener has bytes of the client", 60, || {
        let (client, listener) = (log(kubectl, "client")?, log(kubectl, "listener")?);
        that(client.contains("status 0") && last_count(&listener) > 0, format!("{client}\n{listener}"))
    });
    let agent = agents::pod_on(kubectl, "node2");
    let tetra = ["tetra", "getevents", "-o", "json", "-e", "PROCESS_KPROBE"];
    let events =
        Stream::start(kubectl.command(&[&["-n", NAMESPACE, "exec", &agent, "-c", "agent", "--"], &tetra[..]].concat()));

    let policies = ["kprobe-outbound", "kprobe-downloads"].map(policy).join("---\n");
    let _made = DeleteOnDrop(fixture, policies.clone());
    kubectl.apply(&policies);
    let killed = eventually("a client is killed", 120, || {
        let text = log(kubectl, "client")?;
        if killed_clients(&text) > 0 { Ok(killed_clients(&text)) } else { Err(text) }
    });
    let before = last_count(&log(kubectl, "listener").unwrap());
    eventually("three more clients are killed", 60, || {
        let text = log(kubectl, "client")?;
        that(killed_clients(&text) >= killed + 3 && !text.ends_with("status 0\n"), text)
    });
    // Of a killed client the listener may see that it connected: a signal ends the process after the call.
    assert_eq!(last_count(&log(kubectl, "listener").unwrap()), before, "bytes of a killed client");

    let by = |policy: &'static str, line: &str, pod: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let kprobe = &event["process_kprobe"];
        kprobe["policy_name"] == policy && kprobe["process"]["pod"]["name"] == pod && event["node_name"] == "node2"
    };
    let line = events.until("an event of the client", 60, |line| by(OUTBOUND, line, "client"));
    assert!(line.contains(r#""action":"KPROBE_ACTION_SIGKILL""#) && line.contains(r#""dport":4444"#), "{line}");
    let line = events.until("an event of the download", 60, |line| by(DOWNLOADS, line, "downloader"));
    assert!(line.contains("/usr/bin/curl") && line.contains(r#""function_name":"security_bprm_check""#), "{line}");

    for name in [OUTBOUND, DOWNLOADS] {
        active_on_the_guest_alone(kubectl, name);
    }
    let nodes = kubectl.run(&["get", "nodes", "-o", "wide"]);
    assert_eq!(nodes.matches(" Ready").count(), 2, "{nodes}");
    println!("{nodes}");
}

/// The product on both nodes, and the kinds of Tetragon. Operator and name server stay on node1: an emulated processor is slow.
fn prepared() -> &'static Fixture {
    static FIXTURE: std::sync::OnceLock<Fixture> = std::sync::OnceLock::new();
    let fixture = FIXTURE.get_or_init(Fixture::open);
    fixture.kubectl.run(&["cordon", "node2"]);
    fixture.install();
    fixture.stack("{security: {mode: Enabled}, relay: {mode: Disabled}}");
    let crds: Vec<String> = cilium_crds().iter().map(|crd| serde_yaml::to_string(crd).unwrap()).collect();
    fixture.kubectl.apply(&crds.join("---\n"));
    fixture.kubectl.run(&["wait", "--for=condition=Established", "crd/tracingpolicies.cilium.io", "--timeout=60s"]);
    pods::namespace(&fixture.kubectl, "mixed");
    fixture
}

#[track_caller]
fn start_on_the_guest(kubectl: &Kubectl, name: &str, command: &str) {
    Workload { namespace: "mixed", name, node: "node2", command }.start(kubectl);
}

/// One of the article's policies as the kernel tests have it, unchanged. On a machine with kprobes it is for the guest alone, or it
/// would end this machine's processes.
fn policy(name: &str) -> String {
    let text = fs::read_to_string(workspace_root().join(format!("e2e/kernels/smoke/{name}.yaml"))).unwrap();
    if !kprobes_here() {
        return text;
    }
    text.replace("\nspec:\n", "\nspec:\n  nodeSelector: {matchLabels: {kubernetes.io/hostname: node2}}\n")
}

/// Whether this machine's kernel has kprobes.
fn kprobes_here() -> bool {
    ["/sys/bus/event_source/devices/kprobe", "/sys/kernel/tracing/kprobe_events"]
        .iter()
        .any(|path| Path::new(path).exists())
}

fn log(kubectl: &Kubectl, pod: &str) -> Result<String, String> {
    kubectl.ask(&["-n", "mixed", "logs", pod])
}

fn killed_clients(log: &str) -> usize {
    log.lines().filter(|line| *line == "status 137").count()
}

/// The bytes that the listener has printed last.
fn last_count(log: &str) -> u64 {
    log.lines().rev().find_map(|line| line.strip_prefix("bytes ")?.trim().parse().ok()).unwrap_or(0)
}

/// Status: ready on the guest, refused by this machine's kernel with its reason.
#[track_caller]
fn active_on_the_guest_alone(kubectl: &Kubectl, name: &str) {
    let refusing = i32::from(!kprobes_here());
    let object = eventually(&format!("{name} is judged by both nodes"), 60, || {
        let object = kubectl.get(&["tracingpolicies.cilium.io", name])?;
        let nodes = &object["status"]["nodes"];
        that(nodes["ready"] == 1 && nodes["failing"] == refusing, format!("{:#}", object["status"]))?;
        Ok(object)
    });
    if refusing == 0 {
        println!("{name} is left out on this machine, whose kernel has kprobes");
        return;
    }
    let status = &object["status"];
    let failure = &status["failures"][0];
    assert_eq!((&failure["exampleNode"], &failure["count"]), (&"node1".into(), &1.into()), "{status:#}");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(failure["kernel"], release.trim(), "{status:#}");
    assert_eq!(status["readyNodes"], "1/2", "{status:#}");
    assert_eq!(condition(&object, "Degraded").unwrap()["reason"], failure["reason"], "{status:#}");
    let message = failure["message"].as_str().unwrap();
    assert!(failure["reason"] == "LoadFailed" && message.contains("os error"), "no error of the kernel: {failure:#}");
    println!("{name}: {message}");
}
