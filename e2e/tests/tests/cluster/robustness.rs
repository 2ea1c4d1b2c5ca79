//! What goes away comes back, and nothing that happened meanwhile is lost without a word.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use trilobite_e2e::{
    Stage, agents,
    clients::{self, Stream},
    eventually,
    pods::{self, Workload},
    wait::that,
};

/// How long the API server is away. Long enough for watches to time out; `TRILOBITE_OUTAGE_SECONDS` makes it longer.
fn outage() -> Duration {
    let seconds = std::env::var("TRILOBITE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(120))
}

#[test]
fn no_event_is_lost_while_the_api_server_is_away() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    pods::namespace(&stage.kubectl, "steady");
    let command = r#"[sh, -c, "i=0; while true; do echo step-$i >/dev/null; /bin/ls /step-$i >/dev/null 2>&1; i=$((i+1)); sleep 0.2; done"]"#;
    let pod = Workload { namespace: "steady", name: "counter", node: "node1", command };
    pod.start(&stage.kubectl);
    let pid = agents::pid_on("node1");
    let stream = Stream::start(clients::tetra(
        "node1",
        &["getevents", "-o", "json", "--namespace", "steady", "-e", "PROCESS_EXEC"],
    ));
    stream.until("the first step", 20, |line| line.contains("/step-"));

    let _back = Back(stage, "apiserver");
    stage.cluster.stop("apiserver").unwrap();
    sleep(outage());
    stage.cluster.start("apiserver").unwrap();
    sleep(Duration::from_secs(5));

    let lines = stream_for(&stream, Duration::from_secs(3));
    let mut steps: Vec<u64> = lines.iter().filter_map(|line| step(line)).collect();
    steps.sort_unstable();
    let (first, last) = (steps[0], steps[steps.len() - 1]);
    let expected: Vec<u64> = (first..=last).collect();
    assert_eq!(steps, expected, "a step is missing or doubled");
    assert!(steps.len() as u64 > outage().as_secs(), "only {} steps", steps.len());
    assert_eq!(agents::pid_on("node1"), pid, "the agent was restarted");
    stage.ready("2/2");
    pod.stop(&stage.kubectl);
}

#[test]
fn an_agent_killed_while_the_api_server_is_away_resumes_from_disk_with_the_same_exec_ids() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}, export: {file: {enabled: true}}}");
    pods::namespace(&stage.kubectl, "resumed");
    let command = r#"[sh, -c, "while true; do /bin/ls /again >/dev/null 2>&1; sleep 0.5; done"]"#;
    let pod = Workload { namespace: "resumed", name: "looper", node: "node2", command };
    pod.start(&stage.kubectl);
    let before = parent_of_ls();

    let _back = Back(stage, "apiserver");
    stage.cluster.stop("apiserver").unwrap();
    let old = agents::pid_on("node2");
    agents::kill("node2");
    let from = Instant::now();
    let new = eventually("the kubelet starts the agent again", 60, || {
        let pid = agents::pid_on("node2");
        if pid == old { Err("still the old one".to_owned()) } else { Ok(pid) }
    });
    eventually("the agent answers", 5, || {
        std::os::unix::net::UnixStream::connect(clients::socket("node2")).map(drop).map_err(|error| error.to_string())
    });
    println!("agent {old} -> {new}, back after {:?}", from.elapsed());
    let after = parent_of_ls();
    assert_eq!(before, after, "the shell's exec_id changed with the agent");
    stage.cluster.start("apiserver").unwrap();
    stage.ready("2/2");
    pod.stop(&stage.kubectl);
}

#[test]
fn an_operator_killed_during_a_change_converges() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    for round in 0..3 {
        let mode = if round % 2 == 0 { "Enabled" } else { "Disabled" };
        stage.kubectl.apply(&trilobite_e2e::stage::stack_yaml(&format!("{{network: {{mode: {mode}}}}}")));
        stage.kubectl.run(&[
            "-n",
            "trilobite-system",
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/name=trilobite-operator",
            "--force",
            "--grace-period=0",
        ]);
        stage.ready("2/2");
    }
    stage.stack("{security: {mode: Enabled}}");
}

#[test]
fn a_node_that_leaves_and_comes_back_is_counted_again() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    // The operator must stay, to say what it sees.
    let operator = stage.kubectl.run(&[
        "-n",
        "trilobite-system",
        "get",
        "pod",
        "-l",
        "app.kubernetes.io/name=trilobite-operator",
        "-o=jsonpath={.items[0].spec.nodeName}",
    ]);
    let leaving = if operator == "node2" { "node1" } else { "node2" };
    let _back = Back(stage, leaving);
    stage.cluster.stop(leaving).unwrap();
    eventually("the stack sees one of two nodes", 180, || {
        let object = stage.kubectl.get(&["observabilitystack", "default"])?;
        that(object["status"]["readyNodes"] == "1/2", format!("{:#}", object["status"]))
    });
    stage.cluster.start(leaving).unwrap();
    eventually("the stack is ready again", 120, || {
        let object = stage.kubectl.get(&["observabilitystack", "default"])?;
        that(object["status"]["readyNodes"] == "2/2", format!("{:#}", object["status"]))
    });
}

/// Brings a part back, whatever the test came to: the next one needs it.
struct Back(&'static Stage, &'static str);

impl Drop for Back {
    fn drop(&mut self) {
        let _ = self.0.cluster.start(self.1);
    }
}

/// exec_id of the shell that runs `ls /again`, as node2's agent says.
fn parent_of_ls() -> String {
    let stream = Stream::start(clients::tetra(
        "node2",
        &["getevents", "-o", "json", "--namespace", "resumed", "-e", "PROCESS_EXEC"],
    ));
    let line = stream.until("the next ls", 20, |line| line.contains("/again"));
    let event: Value = serde_json::from_str(&line).unwrap();
    event["process_exec"]["process"]["parent_exec_id"].as_str().unwrap().to_owned()
}

fn step(line: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(line).ok()?;
    event["process_exec"]["process"]["arguments"].as_str()?.strip_prefix("/step-")?.parse().ok()
}

fn stream_for(stream: &Stream, quiet: Duration) -> Vec<String> {
    let mut lines = BTreeMap::new();
    let end = Instant::now() + quiet;
    while Instant::now() < end {
        let line = stream.until("another event", 5, |_| true);
        lines.insert(lines.len(), line);
        if lines.len() > 100_000 {
            break;
        }
    }
    lines.into_values().collect()
}
