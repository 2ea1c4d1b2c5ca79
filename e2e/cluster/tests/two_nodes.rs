//! A whole cluster, once, from `up` to `down`: the promises that every end-to-end test builds on.
//! Needs root, `trilobite-cluster build` first, and that no other cluster is up on this machine.

#![allow(clippy::unwrap_used, reason = "an unexpected error is what a test is to show")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use trilobite_cluster::{Cache, Cluster};

fn kubectl(cluster: &Cluster, words: &[&str]) -> String {
    let done = cluster.kubectl().args(words).output().unwrap();
    assert!(done.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

fn wait_for_pods(cluster: &Cluster) {
    kubectl(cluster, &["wait", "--for=condition=Ready", "pod", "one", "two", "--timeout=120s"]);
}

fn address(cluster: &Cluster, what: &str, field: &str) -> String {
    kubectl(cluster, &["get", what, &format!("-o=jsonpath={{{field}}}")])
}

/// A cluster that fails a promise must not stand in the way of the next.
struct TakenDown<'a>(&'a Path);

impl Drop for TakenDown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(error) = Cluster::down(self.0)
        {
            eprintln!("{error}");
        }
    }
}

#[test]
#[ignore = "starts a cluster: needs root and `trilobite-cluster build`"]
fn two_nodes_serve_pods_and_survive_a_power_cut() {
    let folder = Path::new("/tmp/trilobite-two-nodes");
    Cluster::down(folder).unwrap();
    let _guard = TakenDown(folder);
    let cluster = Cluster::up(folder, &Cache::from_environment(), 2).unwrap();
    assert_eq!(cluster.nodes(), ["node1", "node2"]);
    let pods = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/two_nodes/pods.yaml");
    kubectl(&cluster, &["apply", "-f", pods]);
    wait_for_pods(&cluster);

    every_pod_reaches_the_other_node(&cluster);
    services_are_found_by_name(&cluster);
    a_host_port_reaches_its_pod(&cluster);
    logs_and_port_forward_reach_the_second_node(&cluster);
    a_node_and_its_pods_share_a_cgroup_tree(&cluster);
    nothing_leaves_the_machine(&cluster);
    a_stopped_api_server_comes_back(&cluster);
    a_node_that_lost_power_comes_back(&cluster);

    let remembered = Path::new("/var/lib/trilobite/node1/last-good");
    std::fs::create_dir_all(remembered).unwrap();
    Cluster::down(folder).unwrap();
    assert!(!folder.exists());
    assert!(!remembered.exists(), "the next cluster's agent would resume it");
    Cluster::down(folder).unwrap();
}

fn every_pod_reaches_the_other_node(cluster: &Cluster) {
    for (from, to) in [("one", "two"), ("two", "one")] {
        for family in 0..2 {
            let to = address(cluster, &format!("pod/{to}"), &format!(".status.podIPs[{family}].ip"));
            for protocol in ["tcp", "udp"] {
                kubectl(cluster, &["exec", from, "--", "netecho", "send", protocol, &to, "7000", "3000000"]);
            }
        }
    }
}

fn services_are_found_by_name(cluster: &Cluster) {
    for family in 0..2 {
        let service = address(cluster, "service/two", &format!(".spec.clusterIPs[{family}]"));
        kubectl(cluster, &["exec", "one", "--", "netecho", "send", "udp", &service, "7000", "1000"]);
        kubectl(cluster, &["exec", "one", "--", "netecho", "send", "tcp", &service, "7000", "1000"]);
    }
    for name in ["http://two/", "http://two.default.svc.cluster.local/"] {
        assert_eq!(kubectl(cluster, &["exec", "one", "--", "wget", "-q", "-O", "-", name]), "from two");
    }
}

fn a_host_port_reaches_its_pod(cluster: &Cluster) {
    let node = address(cluster, "node/node1", ".status.addresses[0].address");
    kubectl(cluster, &["exec", "two", "--", "netecho", "send", "tcp", &node, "17000", "1000"]);
}

fn logs_and_port_forward_reach_the_second_node(cluster: &Cluster) {
    assert_eq!(kubectl(cluster, &["logs", "two", "-c", "netecho"]), "netecho on port 7000");
    let mut forward = cluster.kubectl();
    let mut forward = forward.args(["port-forward", "pod/two", ":7000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Open until the end: kubectl prints more later, and would end on a closed pipe.
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    // Forwarding from 127.0.0.1:PORT -> 7000
    let port: u16 = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"there and back").unwrap();
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"there and back");
    forward.kill().unwrap();
    forward.wait().unwrap();
}

/// An agent takes the tree above `kubepods` for its node, and must find the shims in it.
fn a_node_and_its_pods_share_a_cgroup_tree(cluster: &Cluster) {
    let own = kubectl(cluster, &["exec", "two", "-c", "netecho", "--", "cat", "/proc/self/cgroup"]);
    assert!(own.contains("0::/"), "{own}");
    let trees = |name: &str| -> Vec<String> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let named =
            entries.filter(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
        let cgroups = named.filter_map(|path| std::fs::read_to_string(path.join("cgroup")).ok());
        cgroups.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))).collect()
    };
    assert!(trees("containerd-shim").iter().any(|tree| tree == "/node2/system"));
    assert!(trees("kubelet").iter().any(|tree| tree == "/node2/system"));
    assert!(trees("netecho").iter().any(|tree| tree.starts_with("/node1/kubepods/")));
    assert!(trees("netecho").iter().any(|tree| tree.starts_with("/node2/kubepods/")));
}

fn nothing_leaves_the_machine(cluster: &Cluster) {
    // Addresses that are for documentation: no host has them, even if the fence is broken.
    for outside in ["198.51.100.1", "2001:db8::1"] {
        let mut send = cluster.kubectl();
        let done = send.args(["exec", "two", "--", "netecho", "send", "tcp", outside, "80", "1"]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("refused") || said.contains("unreachable"), "{outside}: {said}");
    }
}

fn a_stopped_api_server_comes_back(cluster: &Cluster) {
    cluster.stop("apiserver").unwrap();
    assert!(!cluster.kubectl().args(["get", "nodes"]).output().unwrap().status.success());
    cluster.start("apiserver").unwrap();
    wait_for_pods(cluster);
}

fn a_node_that_lost_power_comes_back(cluster: &Cluster) {
    cluster.stop("node2").unwrap();
    kubectl(cluster, &["wait", "--for=condition=Ready=Unknown", "node/node2", "--timeout=60s"]);
    cluster.start("node2").unwrap();
    let start = Instant::now();
    // Its pods are restarted, with new addresses.
    let restarted = || address(cluster, "pod/two", ".status.containerStatuses[0].restartCount") == "1";
    while !restarted() {
        assert!(start.elapsed() < Duration::from_secs(60), "the pod was not started again");
        std::thread::sleep(Duration::from_millis(200));
    }
    wait_for_pods(cluster);
    every_pod_reaches_the_other_node(cluster);
}
