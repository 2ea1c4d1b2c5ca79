//! Who is not selected is not seen, and two nodes that share a kernel stay two nodes.

use trilobite_e2e::{
    Stage, agents,
    clients::{self, Stream},
    eventually,
    pods::{self, Workload},
    wait::that,
};

const EXECS: &str = r#"[sh, -c, "while true; do ls / >/dev/null; sleep 0.5; done"]"#;

#[test]
fn no_agent_reports_a_pod_of_the_other_node() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    pods::namespace(&stage.kubectl, "apart");
    for node in ["node1", "node2"] {
        Workload { namespace: "apart", name: &format!("on-{node}"), node, command: EXECS }.start(&stage.kubectl);
    }
    for (node, other) in [("node1", "on-node2"), ("node2", "on-node1")] {
        let stream = Stream::start(clients::tetra(node, &["getevents", "-o", "json", "--namespace", "apart"]));
        stream.until("the node's own pod", 20, |line| line.contains(&format!("on-{node}")));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(6);
        let mut own = 0;
        while std::time::Instant::now() < end {
            let line = stream.until("another event", 5, |_| true);
            assert!(!line.contains(other), "{node} reported {other}: {line}");
            own += 1;
        }
        assert!(own > 5, "only {own} events of the node's own pod");
    }
    stage.kubectl.run(&["delete", "namespace", "apart", "--wait=false"]);
}

#[test]
fn of_two_pods_with_the_same_binary_the_selected_one_alone_is_sampled() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: OnDemand}}");
    pods::namespace(&stage.kubectl, "twins");
    // The selected one burns in a cgroup of its own below the container's, as a container in a container does.
    for (name, command) in [("chosen", "[burn_primes]"), ("other", "[burn_primes]")] {
        Workload { namespace: "twins", name, node: "node1", command }.start(&stage.kubectl);
    }
    let before = cpu_seconds("chosen", stage);
    stage.kubectl.apply(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: chosen, namespace: twins}\nspec: {podSelector: {matchLabels: {app: chosen}}, cpu: {frequencyHz: 99}, durationSeconds: 12}\n",
    );
    let profile = eventually("the profile is completed", 60, || {
        let object = stage.kubectl.get(&["-n", "twins", "appprofile", "chosen"])?;
        let done = object["status"]["conditions"].to_string().contains("DurationElapsed");
        that(done, format!("{:#}", object["status"]))?;
        Ok(object)
    });
    let used = cpu_seconds("chosen", stage) - before;
    let samples = profile["status"]["results"]["samples"].as_f64().unwrap_or_default();
    // The pod burned a little longer than it was sampled; of twelve seconds on a shared CPU that is a small part.
    println!("{samples} samples, {used:.1} s of CPU time at 99 Hz from before to after");
    assert!(samples >= 0.9 * 99.0 * used.min(12.0) * 0.8, "{samples} samples for {used} s of CPU time");
    let runtime = agents::runtime(&stage.kubectl, "node2").unwrap();
    assert!(
        runtime["spec"]["sessions"].as_array().is_none_or(Vec::is_empty),
        "a node without a matching pod got a session"
    );
    stage.kubectl.run(&["delete", "namespace", "twins", "--wait=false"]);
}

/// CPU time of a pod's first process so far.
fn cpu_seconds(name: &str, stage: &Stage) -> f64 {
    let words = ["-n", "twins", "exec", name, "--", "cat", "/proc/1/stat"];
    let stat = stage.kubectl.run(&words);
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime are fields 14 and 15 of the whole line, in clock ticks of 10 ms.
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
