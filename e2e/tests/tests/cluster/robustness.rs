//! API server, operator, agents and nodes that go away come back, and events meanwhile are read or counted as lost.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents,
    clients::{self, Stream},
    eventually,
    fixture::{DeleteOnDrop, NAMESPACE, StartOnDrop, condition, stack_yaml},
    kernel::{self, FLOWS},
    parameters::count,
    pods::{self, Workload},
    wait::that,
};

/// How long the API server is away; long enough for watches to time out. `TRILOBITE_OUTAGE_SECONDS` changes it.
fn outage() -> Duration {
    Duration::from_secs(count("TRILOBITE_OUTAGE_SECONDS", 120) as u64)
}

#[test]
fn no_event_is_lost_while_the_api_server_is_away() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "steady");
    let command = r#"[sh, -c, "i=0; while true; do /bin/ls /step-$i >/dev/null 2>&1; i=$((i+1)); sleep 0.2; done"]"#;
    let pod = Workload { namespace: "steady", name: "counter", node: "node1", command };
    pod.start(&fixture.kubectl);
    let pid = agents::pid_on("node1");
    let words = ["getevents", "-o", "json", "--namespace", "steady", "-e", "PROCESS_EXEC"];
    let stream = Stream::start(clients::tetra("node1", &words));
    stream.until("the first step", 20, |line| line.contains("/step-"));

    let _back = StartOnDrop(fixture, "apiserver");
    fixture.cluster.kill("apiserver").unwrap();
    sleep(outage());
    fixture.api_server_returns();
    what_is_applied_now_is_judged(fixture);

    // What came meanwhile is at hand.
    let lines = stream.during(Duration::from_secs(3));
    let mut steps: Vec<u64> = lines.iter().filter_map(|line| step(line)).collect();
    steps.sort_unstable();
    let (first, last) = (steps[0], steps[steps.len() - 1]);
    let expected: Vec<u64> = (first..=last).collect();
    assert_eq!(steps, expected, "a step is missing or doubled");
    assert!(steps.len() as u64 > outage().as_secs(), "only {} steps", steps.len());
    assert_eq!(agents::pid_on("node1"), pid, "the agent was restarted");
    fixture.ready("2/2");
    pod.leave(&fixture.kubectl);
}

/// The operator sees a policy soon after the outage, however long that was.
fn what_is_applied_now_is_judged(fixture: &'static Fixture) {
    let policy = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: after-the-outage}\nspec: {lsmhooks: [{hook: file_open}]}\n";
    let _made = DeleteOnDrop(fixture, policy.into());
    fixture.kubectl.apply(policy);
    eventually("the policy is judged", 40, || {
        let object = fixture.kubectl.get(&["tracingpolicy", "after-the-outage"])?;
        let accepted = condition(&object, "Accepted").is_some_and(|accepted| accepted["status"] == "False");
        that(accepted, format!("{:#}", object["status"]))
    });
}

#[test]
fn operator_killed_during_a_change_converges() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    for flows in [true, false] {
        let mode = if flows { "Enabled" } else { "Disabled" };
        fixture.kubectl.apply(&stack_yaml(&format!("{{network: {{mode: {mode}}}}}")));
        let operator = "app.kubernetes.io/name=trilobite-operator";
        fixture.kubectl.run(&[
            "-n",
            "trilobite-system",
            "delete",
            "pod",
            "-l",
            operator,
            "--force",
            "--grace-period=0",
        ]);
        fixture.ready("2/2");
        eventually("the nodes do what was asked last", 30, || {
            let objects = kernel::objects();
            that((objects.count(FLOWS) > 0) == flows, format!("flows {mode}: {objects:?}"))
        });
    }
    fixture.stack("{security: {mode: Enabled}}");
}

#[test]
fn a_node_that_leaves_and_comes_back_is_counted_again() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    // The operator must stay, to say what it sees.
    let operator = ["-l", "app.kubernetes.io/name=trilobite-operator", "-o=jsonpath={.items[0].spec.nodeName}"];
    let operator = fixture.kubectl.run(&[&["-n", "trilobite-system", "get", "pod"][..], &operator].concat());
    let leaving = if operator == "node2" { "node1" } else { "node2" };
    let _back = StartOnDrop(fixture, leaving);
    fixture.cluster.stop(leaving).unwrap();
    let ready_nodes = |nodes: &'static str| {
        move || {
            let object = fixture.kubectl.get(&["observabilitystack", "default"])?;
            that(object["status"]["readyNodes"] == nodes, format!("{:#}", object["status"]))
        }
    };
    eventually("the stack sees one of two nodes", 180, ready_nodes("1/2"));
    fixture.cluster.start(leaving).unwrap();
    eventually("the stack is ready again", 120, ready_nodes("2/2"));
}

#[test]
fn agent_killed_during_an_outage_resumes_and_records_the_gap() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}, export: {file: {enabled: true}}}");
    let (shell, pod) = looper(fixture, "resumed");
    let before = parents(&shell);

    let _back = StartOnDrop(fixture, "apiserver");
    fixture.cluster.kill("apiserver").unwrap();
    let killed = jiff::Timestamp::now();
    let started = kill_and_wait("node2");
    let first = first_event(&shell);
    println!("an event {:?} after the new agent's process had started", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5), "it resumed after {:?}", started.elapsed());
    assert!(before.contains(&parent(&first)), "the exec_ids of processes that ran all the time changed");
    let gap = eventually("the gap is a record", 10, || {
        gaps("node2").into_iter().next_back().ok_or_else(|| "no agent_gap".to_owned())
    });
    let time = |field: &str| gap["agent_gap"][field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("to") > killed && time("from") < time("to"), "{gap}");
    assert!(time("from") > killed - jiff::SignedDuration::from_secs(10), "{gap}");
    fixture.api_server_returns();
    fixture.ready("2/2");
    pod.leave(&fixture.kubectl);
}

#[test]
fn an_expired_profile_is_not_resumed_and_nothing_is_orphaned() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let (shell, pod) = looper(fixture, "expiring");
    let profile = "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: short, namespace: expiring}\nspec: {podSelector: {}, cpu: {}, durationSeconds: 15}\n";
    fixture.kubectl.apply(profile);
    let applied = Instant::now();
    eventually("the profile runs", 20, || {
        let objects = kernel::objects();
        that(objects.count(kernel::PROFILE) == 1, format!("{objects:?}"))
    });

    let _back = StartOnDrop(fixture, "apiserver");
    fixture.cluster.kill("apiserver").unwrap();
    // A kubelet that stands still starts no agent: the profile's end comes while there is none.
    fixture.cluster.freeze("node2/kubelet").unwrap();
    let _thawed = trilobite_e2e::fixture::ThawOnDrop(fixture, "node2/kubelet");
    agents::kill("node2");
    eventually("nothing of the killed agent is left in the kernel, and no worker", 10, || {
        let objects = kernel::objects();
        that(objects.count(kernel::PROFILE) == 0 && agents::workers().is_empty(), format!("{objects:?}"))
    });
    sleep(Duration::from_secs(20).saturating_sub(applied.elapsed()));
    fixture.cluster.thaw("node2/kubelet").unwrap();
    first_event(&shell);
    sleep(Duration::from_secs(2));
    assert_eq!(kernel::objects().count(kernel::PROFILE), 0, "an expired profile was resumed");
    assert_eq!(agents::workers(), Vec::<u32>::new());
    fixture.api_server_returns();
    fixture.ready("2/2");
    fixture.kubectl.delete(profile);
    pod.leave(&fixture.kubectl);
}

#[test]
fn truncated_state_is_refused_and_rewritten() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let (shell, pod) = looper(fixture, "truncated");

    let _back = StartOnDrop(fixture, "apiserver");
    fixture.cluster.kill("apiserver").unwrap();
    fixture.cluster.freeze("node2/kubelet").unwrap();
    let _thawed = trilobite_e2e::fixture::ThawOnDrop(fixture, "node2/kubelet");
    agents::kill("node2");
    let path = "/var/lib/trilobite/node2/last-good";
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
    fixture.cluster.thaw("node2/kubelet").unwrap();
    let pid = agents::pid_on("node2");
    sleep(Duration::from_secs(5));
    assert_eq!(agents::pid_on("node2"), pid, "the agent does not live with a truncated file");
    assert_eq!(kernel::objects().count(&["on_exec"]), 1, "a truncated state was believed");

    fixture.api_server_returns();
    first_event(&shell);
    fixture.ready("2/2");
    assert!(std::fs::read(path).unwrap().len() >= whole.len() / 2 + 1, "the state was not rewritten");
    let agent = agents::pod_on(&fixture.kubectl, "node2");
    let log = fixture.kubectl.run(&["-n", NAMESPACE, "logs", &agent, "-c", "agent"]);
    assert!(log.contains(&format!("{path}: ")), "the refusal does not name the file as the node has it: {log}");
    pod.leave(&fixture.kubectl);
}

/// A pod on node2 whose shell runs `ls /again` twice a second, and a new agent pod there, which was never killed.
fn looper(fixture: &Fixture, namespace: &'static str) -> (Stream, Workload<'static>) {
    agents::replace_pod(&fixture.kubectl, "node2");
    fixture.ready("2/2");
    pods::namespace(&fixture.kubectl, namespace);
    let command = r#"[sh, -c, "while true; do /bin/ls /again >/dev/null 2>&1; sleep 0.5; done"]"#;
    let pod = Workload { namespace, name: "looper", node: "node2", command };
    pod.start(&fixture.kubectl);
    (watch(namespace), pod)
}

/// Reads on after a restart of the agent.
fn watch(namespace: &str) -> Stream {
    let words = [
        "getevents",
        "-o",
        "json",
        "--namespace",
        namespace,
        "-e",
        "PROCESS_EXEC",
        "--reconnect",
        "--reconnect-wait",
        "100ms",
    ];
    Stream::start(clients::tetra("node2", &words))
}

fn first_event(stream: &Stream) -> String {
    stream.drain(0);
    stream.until("the next ls", 60, |line| line.contains("/again"))
}

/// exec_ids of the parents of what ran within a second.
fn parents(stream: &Stream) -> BTreeSet<String> {
    let lines = stream.during(Duration::from_secs(2));
    lines.iter().filter(|line| line.contains("/again")).map(|line| parent(line)).collect()
}

fn parent(line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap();
    event["process_exec"]["process"]["parent_exec_id"].as_str().unwrap().to_owned()
}

/// When the agent's next process was first seen.
fn kill_and_wait(node: &str) -> Instant {
    let old = agents::pid_on(node);
    agents::kill(node);
    eventually("the kubelet starts the agent again", 60, || {
        let pid = agents::pid_on(node);
        if pid == old { Err("still the old one".to_owned()) } else { Ok(()) }
    });
    Instant::now()
}

/// Every gap in the exported file of a node.
fn gaps(node: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("/var/lib/trilobite/{node}/events.log")).unwrap_or_default();
    let gap = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|line| line["agent_gap"].is_object());
    text.lines().filter_map(gap).collect()
}

fn step(line: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(line).ok()?;
    event["process_exec"]["process"]["arguments"].as_str()?.strip_prefix("/step-")?.parse().ok()
}
