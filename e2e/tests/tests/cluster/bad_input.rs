//! Bad input gets a clear error, at admission or in status; nothing crashes, and other resources are untouched.

use trilobite_e2e::{Stage, agents, eventually, stage::condition, wait::that};

const KIND: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: ";

#[test]
fn what_the_schema_refuses_is_refused_at_admission_with_the_field() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let pids = (agents::pid_on("node1"), agents::pid_on("node2"));
    let long = "x".repeat(300);
    let many = (0..10_000).map(|port| (port % 60_000 + 1).to_string()).collect::<Vec<_>>().join(",");
    let hooks = "{subsystem: a, event: b},".repeat(10_000);
    let cases = [
        ("TracingPolicy\nmetadata: {name: a}\nspec: {tracepoints: 7}", "spec.tracepoints"),
        (&*format!("TracingPolicy\nmetadata: {{name: {long}}}\nspec: {{}}"), "metadata.name"),
        (&*format!("TracingPolicy\nmetadata: {{name: a}}\nspec: {{tracepoints: [{hooks}]}}"), "spec.tracepoints"),
        (&*format!("FlowCapture\nmetadata: {{name: a, namespace: default}}\nspec: {{ports: [{many}]}}"), "spec.ports"),
        ("FlowCapture\nmetadata: {name: a, namespace: default}\nspec: {ports: [70000]}", "spec.ports"),
        ("FlowCapture\nmetadata: {name: a, namespace: default}\nspec: {protocols: [ICMP]}", "spec.protocols"),
        ("AppProfile\nmetadata: {name: a, namespace: default}\nspec: {cpu: {frequencyHz: -1}}", "spec.cpu.frequencyHz"),
        ("AppProfile\nmetadata: {name: a, namespace: default}\nspec: {durationSeconds: soon}", "spec.durationSeconds"),
        ("AppProfile\nmetadata: {name: a, namespace: default}\nspec: {colour: red}", "colour"),
        ("ObservabilityStack\nmetadata: {name: second}\nspec: {}", "default"),
        ("ObservabilityStack\nmetadata: {name: default}\nspec: {security: {mode: Sometimes}}", "spec.security.mode"),
    ];
    for (yaml, field) in cases {
        let said = stage.kubectl.try_apply(&format!("{KIND}{yaml}\n")).expect_err(&yaml[..yaml.len().min(80)]);
        assert!(said.contains(field), "{field} is not named:\n{said}");
    }
    assert!(stage.kubectl.try_apply("{: not yaml").is_err());
    assert_eq!((agents::pid_on("node1"), agents::pid_on("node2")), pids, "an agent was restarted");
}

#[test]
fn what_only_the_planner_can_know_is_refused_in_status_with_the_field() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let yaml = format!(
        "{KIND}TracingPolicy\nmetadata: {{name: misspelt}}\nspec: {{tracepoint: [{{subsystem: sched, event: sched_switch}}]}}\n"
    );
    stage.kubectl.apply(&yaml);
    let object = eventually("the policy is refused", 30, || {
        let object = stage.kubectl.get(&["tracingpolicy", "misspelt"])?;
        that(
            condition(&object, "Accepted").is_some_and(|c| c["status"] == "False"),
            format!("{:#}", object["status"]),
        )?;
        Ok(object)
    });
    let accepted = condition(&object, "Accepted").unwrap();
    assert_eq!(accepted["reason"], "InvalidSpec");
    assert!(accepted["message"].as_str().unwrap().contains("spec.tracepoint"), "{accepted}");
    assert_eq!(condition(&object, "Stalled").unwrap()["status"], "True");
    stage.kubectl.delete(&yaml);
}
