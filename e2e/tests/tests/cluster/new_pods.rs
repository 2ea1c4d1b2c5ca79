//! A policy that kills is there before the first act of a new pod, and within a second after a pod has got its label.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents, eventually,
    fixture::{DeleteOnDrop, condition},
    pods::{self, Workload},
    wait::that,
};

const NAMESPACE: &str = "bursts";
const NODES: [&str; 2] = ["node1", "node2"];
/// Pods of a burst on each node.
const PODS: usize = 50;
const BURSTS: usize = 2;
/// By signal 9, as a shell and the kubelet have it.
const KILLED: i64 = 137;

/// Numbers of system calls on x86_64. A pod's policies hold for the container runtime's process too that becomes its first program: it
/// makes folders, and does not read the kernel's log.
const MAKES_A_FOLDER: &str = r#"["83", "258"]"#;
const READS_THE_LOG: &str = r#"["103"]"#;

/// Kills who makes one of these system calls.
fn policy(name: &str, selector: &str, calls: &str) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicyNamespaced\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  podSelector: {selector}\n  tracepoints:\n    - subsystem: raw_syscalls\n      event: sys_enter\n      raw: true\n      args: [{{index: 1, type: int64}}]\n      selectors:\n        - matchArgs: [{{index: 1, operator: Equal, values: {calls}}}]\n          matchActions: [{{action: Sigkill}}]\n"
    )
}

fn make_active(fixture: &Fixture, name: &str, text: &str) {
    fixture.kubectl.apply(text);
    eventually("the policy is active", 90, || {
        let object = fixture.kubectl.get(&["-n", NAMESPACE, "tracingpolicynamespaced", name])?;
        let ready = condition(&object, "Ready").is_some_and(|ready| ready["status"] == "True");
        that(ready, format!("{:#}", object["status"]))
    });
}

/// How the only container of a pod ended; none while it has not.
fn exit_code(pod: &Value) -> Option<i64> {
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64()
}

/// Exit codes of a burst of pods on all nodes, whose first act is to read the kernel's log.
fn burst(fixture: &Fixture, number: usize) -> Vec<i64> {
    let names = (0..PODS).flat_map(|pod| NODES.map(|node| (format!("b{number}-{node}-{pod}"), node)));
    let pod = |(name, node): (String, &str)| {
        let workload = Workload { namespace: NAMESPACE, name: &name, node, command: "[/bin/busybox, dmesg]" };
        workload.yaml().replace("spec:\n", "spec:\n  restartPolicy: Never\n")
    };
    let pods: Vec<String> = names.map(pod).collect();
    fixture.kubectl.apply(&pods.join("---\n"));
    let ended = eventually("every pod of the burst has ended", 300, || {
        let pods = fixture.kubectl.get(&["-n", NAMESPACE, "pods"])?;
        let ended: Vec<i64> = pods["items"].as_array().into_iter().flatten().filter_map(exit_code).collect();
        that(ended.len() == PODS * NODES.len(), format!("{} ended", ended.len()))?;
        Ok(ended)
    });
    fixture.kubectl.run(&["-n", NAMESPACE, "delete", "pods", "--all", "--force", "--grace-period=0", "--wait=true"]);
    ended
}

/// What the nodes have counted for the policy: calls in pods that were not known yet.
fn counted(fixture: &Fixture) -> i64 {
    let losses = NODES
        .iter()
        .filter_map(|node| agents::runtime(&fixture.kubectl, node).ok())
        .flat_map(|runtime| runtime["status"]["losses"].as_array().cloned().unwrap_or_default());
    let of_policy = losses.filter(|loss| loss["source"]["name"] == "no-logs");
    of_policy
        .filter(|loss| ["unenforced", "undecided"].iter().any(|place| loss["place"] == **place))
        .filter_map(|loss| loss["count"].as_i64())
        .sum()
}

#[test]
fn first_act_of_a_new_pod_is_stopped_or_counted() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, NAMESPACE);
    let text = policy("no-logs", "{}", READS_THE_LOG);
    let _made = DeleteOnDrop(fixture, text.clone());
    make_active(fixture, "no-logs", &text);
    let codes: Vec<i64> = (0..BURSTS).flat_map(|number| burst(fixture, number)).collect();
    let missed = codes.iter().filter(|code| **code != KILLED).count();
    println!("{missed} of {} pods were not stopped", codes.len());
    assert!(missed * 100 <= codes.len(), "{missed} of {} were not stopped", codes.len());
    eventually("each that was not stopped is counted", 30, || {
        let counted = counted(fixture);
        that(counted >= i64::try_from(missed).unwrap_or(i64::MAX), format!("{counted} counted"))
    });
}

#[test]
fn relabelled_pod_is_covered_within_a_second() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, NAMESPACE);
    let text = policy("caught", "{matchLabels: {caught: \"yes\"}}", MAKES_A_FOLDER);
    let _made = DeleteOnDrop(fixture, text.clone());
    make_active(fixture, "caught", &text);
    let command = r#"[sh, -c, "while true; do mkdir -p /tmp/folder; [ $? = 137 ] && echo killed; sleep 0.05; done"]"#;
    let pod = Workload { namespace: NAMESPACE, name: "free", node: "node2", command };
    pod.start(&fixture.kubectl);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(fixture.kubectl.run(&["-n", NAMESPACE, "logs", "free"]).trim(), "", "it is not selected yet");
    let begin = (Timestamp::now(), Instant::now());
    fixture.kubectl.run(&["-n", NAMESPACE, "label", "pod", "free", "caught=yes"]);
    let labelled = begin.1.elapsed();
    let first = eventually("the pod is covered", 20, || {
        let log = fixture.kubectl.ask(&["-n", NAMESPACE, "logs", "free", "--timestamps"])?;
        let first = log.split_whitespace().next().and_then(|time| time.parse::<Timestamp>().ok());
        first.ok_or_else(|| "nothing was killed".to_owned())
    });
    let after = Duration::try_from(first.duration_since(begin.0)).unwrap_or_default();
    println!("covered {after:?} after kubectl label began, which took {labelled:?}");
    assert!(after <= labelled + Duration::from_secs(1), "{after:?}");
    pod.leave(&fixture.kubectl);
}
