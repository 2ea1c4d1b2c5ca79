//! Our own command line on the cluster: what it says when the operator is gone, results of AppProfiles that it did not make,
//! and the real `hubble` behind one port for all nodes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use serde_json::Value;
use trilobite_e2e::{
    Fixture,
    clients::{self, trilobite},
    eventually,
    fixture::{DeleteOnDrop, NAMESPACE},
    pods::{self, Workload},
};

/// Scales the operator up again when the test ends, also after a failure.
struct OperatorReturns(&'static Fixture);

impl Drop for OperatorReturns {
    fn drop(&mut self) {
        let scale = ["-n", NAMESPACE, "scale", "deployment/trilobite-operator", "--replicas=1"];
        let _ = self.0.kubectl.ask(&scale);
        let _ = self.0.kubectl.ask(&[
            "-n",
            NAMESPACE,
            "rollout",
            "status",
            "deployment/trilobite-operator",
            "--timeout=60s",
        ]);
    }
}

#[test]
fn status_says_that_the_operator_does_not_run() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: OnDemand}}");
    eventually("everything is ready", 60, || {
        let done = trilobite(&fixture.kubectl, &["status", "--exit-code"]).output().unwrap();
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stdout).into_owned()) }
    });
    let returns = OperatorReturns(fixture);
    fixture.kubectl.run(&["-n", NAMESPACE, "scale", "deployment/trilobite-operator", "--replicas=0"]);
    let text = eventually("the status says it", 60, || {
        let done = trilobite(&fixture.kubectl, &["status", "--exit-code"]).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.code() == Some(3) { Ok(text) } else { Err(text) }
    });
    assert!(text.starts_with("The operator does not run; what follows is from "), "{text}");
    assert!(!text.contains("default: ready"), "{text}");
    drop(returns);
    fixture.ready("2/2");
}

#[test]
fn result_of_a_profile_by_yaml_is_fetched_while_it_runs() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: OnDemand}}");
    pods::namespace(&fixture.kubectl, "by-yaml");
    let pod = Workload { namespace: "by-yaml", name: "primes", node: "node1", command: "[burn_primes]" };
    pod.start(&fixture.kubectl);
    let profile = "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: slow, namespace: by-yaml}\n\
                   spec: {podSelector: {matchLabels: {app: primes}}, cpu: {}, durationSeconds: 10}\n";
    fixture.kubectl.apply(profile);
    let _deleted = DeleteOnDrop(fixture, profile.to_owned());
    let svg = std::env::temp_dir().join("trilobite-e2e-by-yaml.svg");
    let words = ["profile", "--name", "by-yaml/slow", "-o", svg.to_str().unwrap()];
    clients::succeed(&mut trilobite(&fixture.kubectl, &words));
    let text = std::fs::read_to_string(&svg).unwrap();
    assert!(text.contains("burn_primes"), "the flame graph does not name the function");
    let listed = clients::succeed(&mut trilobite(&fixture.kubectl, &["profiles", "-n", "by-yaml", "-o", "json"]));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((listed[0]["name"].as_str(), listed[0]["state"].as_str()), (Some("slow"), Some("Completed")));
    pod.stop(&fixture.kubectl);
}

/// Ended when it is dropped.
struct Tunnel(Child);

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn hubble_reads_all_nodes_through_one_tunnel() {
    let fixture = Fixture::shared();
    fixture.stack("{network: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "tunnel");
    let serve = |name, node| Workload { namespace: "tunnel", name, node, command: r#"[netecho, serve, "7000"]"# };
    let (one, two) = (serve("one", "node1"), serve("two", "node2"));
    one.start(&fixture.kubectl);
    two.start(&fixture.kubectl);
    let to = pods::address(&fixture.kubectl, "tunnel", "two", 0);

    let mut command = trilobite(&fixture.kubectl, &["tunnel"]);
    let mut tunnel = Tunnel(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(tunnel.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let variables = line.trim_end().strip_prefix("export ").unwrap_or_else(|| panic!("not for a shell: {line}"));
    let variables: Vec<(&str, &str)> = variables.split(' ').filter_map(|one| one.split_once('=')).collect();
    assert_eq!(variables[1], ("HUBBLE_COMPAT", "legacy-json-output"));

    // A flow of the first years of hubble is the object itself, and both nodes are asked.
    let nodes = eventually("flows of both nodes", 60, || {
        let send = ["-n", "tunnel", "exec", "one", "--", "netecho", "send", "tcp", &to, "7000", "1000"];
        fixture.kubectl.ask(&send)?;
        let mut hubble = clients::hubble_from_environment(&["observe", "-n", "tunnel", "--last", "50", "-o", "json"]);
        let done = clients::succeed(hubble.envs(variables.iter().copied()));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let flows: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut nodes: Vec<&str> = flows.iter().filter_map(|flow| flow["node_name"].as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() == 2 { Ok(flows.len()) } else { Err(text) }
    });
    assert!(nodes > 1);
    let mut status = clients::hubble_from_environment(&["status"]);
    let status = clients::succeed(status.envs(variables.iter().copied()));
    assert!(String::from_utf8_lossy(&status.stdout).contains("Connected Nodes: 2"), "{status:?}");
    one.stop(&fixture.kubectl);
    two.stop(&fixture.kubectl);
}
