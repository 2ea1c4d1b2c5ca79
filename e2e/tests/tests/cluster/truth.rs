//! `kubectl describe` tells the truth: condition, reason, count, example and next step, from real agents.

use serde_json::Value;
use trilobite_e2e::{
    Kubectl, Stage, agents, eventually,
    stage::{condition, stack_yaml},
    wait::that,
};

fn policy(name: &str, event: &str) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec: {{tracepoints: [{{subsystem: sched, event: {event}, raw: true}}]}}\n"
    )
}

#[track_caller]
fn until(kubectl: &Kubectl, words: &[&str], kind: &str, status: &str, reason: &str) -> Value {
    eventually(&format!("{words:?} has {kind}={status} {reason}"), 90, || {
        let object = kubectl.get(words)?;
        let found = condition(&object, kind).is_some_and(|c| c["status"] == status && c["reason"] == reason);
        that(found, format!("{:#}", object["status"]))?;
        Ok(object)
    })
}

#[test]
fn a_policy_with_a_hook_that_does_not_exist_says_so_and_ten_good_ones_are_in_force() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let good: Vec<String> = (0..10).map(|number| policy(&format!("good-{number}"), "sched_process_fork")).collect();
    let bad = policy("bad", "no_such_event");
    stage.kubectl.apply(&(good.join("---\n") + "---\n" + &bad));

    until(&stage.kubectl, &["tracingpolicy", "bad"], "Degraded", "True", "NoSuchTracepoint");
    let object = eventually("both nodes have answered", 30, || {
        let object = stage.kubectl.get(&["tracingpolicy", "bad"])?;
        that(object["status"]["failures"][0]["count"] == 2, format!("{:#}", object["status"]))?;
        Ok(object)
    });
    let failure = &object["status"]["failures"][0];
    assert_eq!(failure["reason"], "NoSuchTracepoint");
    assert!(failure["exampleNode"].as_str().unwrap_or_default().starts_with("node"));
    let message = failure["message"].as_str().unwrap_or_default();
    assert!(message.contains("spec.tracepoints[0]") && message.contains("sched/no_such_event"), "{message}");
    for number in 0..10 {
        until(&stage.kubectl, &["tracingpolicy", &format!("good-{number}")], "Ready", "True", "Ready");
    }
    let described = stage.kubectl.run(&["describe", "tracingpolicy", "bad"]);
    println!("{described}");
    for words in ["Reason:", "NoSuchTracepoint", "Example Node:", "Summary:"] {
        assert!(described.contains(words), "describe does not show {words}:\n{described}");
    }
    stage.kubectl.delete(&(good.join("---\n") + "---\n" + &bad));
}

#[test]
fn a_field_that_is_not_carried_out_is_refused_by_its_path() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let yaml = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: later}\nspec: {kprobes: [{call: tcp_connect, syscall: false}]}\n";
    stage.kubectl.apply(yaml);
    let object = until(&stage.kubectl, &["tracingpolicy", "later"], "Accepted", "False", "Unsupported");
    assert!(condition(&object, "Accepted").unwrap()["message"].as_str().unwrap().contains("spec.kprobes"));
    stage.kubectl.delete(yaml);
}

#[test]
fn a_stack_that_no_node_matches_is_ready_and_degraded() {
    let stage = Stage::shared();
    stage.kubectl.apply(&stack_yaml("{runtime: {nodeSelector: {disk: none-such}}}"));
    until(&stage.kubectl, &["observabilitystack", "default"], "Degraded", "True", "NoMatchingNodes");
    let object = until(&stage.kubectl, &["observabilitystack", "default"], "Ready", "True", "NoMatchingNodes");
    assert_eq!(object["status"]["readyNodes"], "0/0");
    stage.stack("{security: {mode: Enabled}}");
}

#[test]
fn a_node_whose_agent_is_killed_is_counted_and_named_until_it_is_back() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let pod = agents::pod_on(&stage.kubectl, "node2");
    // A kubelet that is away cannot start the agent again: the gap is long enough to be seen.
    stage.cluster.stop("node2/kubelet").unwrap();
    agents::kill("node2");
    let object = eventually("one of two nodes is ready", 120, || {
        let object = stage.kubectl.get(&["observabilitystack", "default"])?;
        that(object["status"]["readyNodes"] == "1/2", format!("{:#}", object["status"]))?;
        Ok(object)
    });
    println!("{pod}: {:#}", object["status"]);
    assert_eq!(condition(&object, "Ready").unwrap()["status"], "False");
    stage.cluster.start("node2/kubelet").unwrap();
    stage.ready("2/2");
}

#[test]
fn an_agent_whose_pod_lacks_a_capability_says_which() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}, network: {mode: OnDemand}}");
    let patch = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/securityContext/capabilities/add","value":["BPF","NET_ADMIN","SYS_PTRACE","DAC_READ_SEARCH","SYSLOG"]}]"#;
    // The operator would put it right at once: it is away, as in a cluster where somebody else owns the DaemonSet.
    stage.kubectl.run(&["-n", "trilobite-system", "scale", "deployment/trilobite-operator", "--replicas=0"]);
    stage.kubectl.run(&[
        "-n",
        "trilobite-system",
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/name=trilobite-operator",
        "--timeout=30s",
    ]);
    stage.kubectl.run(&["-n", "trilobite-system", "patch", "daemonset", "trilobite-node", "--type=json", "-p", patch]);
    stage.kubectl.run(&["-n", "trilobite-system", "rollout", "status", "daemonset/trilobite-node", "--timeout=90s"]);
    let runtime = eventually("the node reports the capability", 60, || {
        let runtime = agents::runtime(&stage.kubectl, "node1")?;
        let missing = runtime["status"]["kernel"]["missingCapabilities"].to_string();
        that(missing.contains("CAP_PERFMON"), format!("{:#}", runtime["status"]))?;
        Ok(runtime)
    });
    assert_eq!(runtime["status"]["problems"][0]["reason"], "MissingCapability");
    println!("{}", stage.kubectl.run(&["describe", "noderuntime", "node1"]));
    stage.kubectl.run(&["-n", "trilobite-system", "scale", "deployment/trilobite-operator", "--replicas=1"]);
    stage.ready("2/2");
}
