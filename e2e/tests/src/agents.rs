//! The agents' pods and processes, by node.

use serde_json::Value;

use crate::{Kubectl, eventually, fixture::NAMESPACE};

/// Name of the agent's pod on a node; waits until it is ready.
#[track_caller]
pub fn pod_on(kubectl: &Kubectl, node: &str) -> String {
    eventually("the node has an agent that is ready", 120, || {
        let pods = kubectl.get(&["-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/name=trilobite-node"])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let found = pods.iter().find(|pod| pod["spec"]["nodeName"] == node && ready(pod));
        found
            .and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .ok_or_else(|| format!("{} agents, none ready on {node}", pods.len()))
    })
}

fn ready(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && pod["status"]["conditions"]
            .as_array()
            .is_some_and(|conditions| conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Process id of the agent on a node, as the machine has it: the one `trilobite-node agent` in that node's cgroups.
#[track_caller]
pub fn pid_on(node: &str) -> u32 {
    eventually("the agent's process runs", 30, || {
        processes()
            .into_iter()
            .find(|(_, command, cgroups)| {
                command.contains("trilobite-node\0agent") && cgroups.contains(&format!("/{node}/"))
            })
            .map(|(pid, _, _)| pid)
            .ok_or_else(|| format!("no trilobite-node agent in the cgroups of {node}"))
    })
}

/// Replaces the agent's pod on a node: in a new pod the kubelet restarts a killed agent without a back-off.
#[track_caller]
pub fn replace_pod(kubectl: &Kubectl, node: &str) {
    let old = pod_on(kubectl, node);
    kubectl.run(&["-n", NAMESPACE, "delete", "pod", &old, "--wait=true", "--timeout=120s"]);
    let new = pod_on(kubectl, node);
    assert_ne!(new, old);
}

/// Processes without privilege that parse for an agent, on any node.
pub fn workers() -> Vec<u32> {
    processes()
        .into_iter()
        .filter(|(_, command, _)| command.starts_with("trilobite-worker\0"))
        .map(|(pid, ..)| pid)
        .collect()
}

/// Processes that print events in a container of their own, on any node.
pub fn exports() -> Vec<u32> {
    let is_export = |command: &str| command.starts_with("/trilobite-export-stdout\0");
    processes().into_iter().filter(|(_, command, _)| is_export(command)).map(|(pid, ..)| pid).collect()
}

/// The NodeRuntime of a node.
pub fn runtime(kubectl: &Kubectl, node: &str) -> Result<Value, String> {
    kubectl.get(&["noderuntime", node])
}

/// Kills the agent's process on a node, as an out-of-memory kill would.
#[track_caller]
pub fn kill(node: &str) {
    signal(pid_on(node), "-9");
}

/// Sends a signal to a process, e.g. `-STOP`.
#[track_caller]
pub fn signal(pid: u32, which: &str) {
    let done = std::process::Command::new("kill").args([which, &pid.to_string()]).status().unwrap();
    assert!(done.success(), "kill {which} {pid}");
}

/// Anonymous and whole resident memory of a process, in KiB.
pub fn memory_kib(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or_default()
    };
    (field("RssAnon:"), field("VmRSS:"))
}

fn processes() -> Vec<(u32, String, String)> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter_map(|pid| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        Some((pid, command, cgroups))
    })
    .collect()
}
