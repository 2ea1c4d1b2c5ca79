//! Bad input gets a clear error, at admission or in status; nothing crashes, and other resources are untouched.

use serde_json::Value;
use trilobite_e2e::{
    Fixture, Kubectl, agents, eventually,
    fixture::{DeleteOnDrop, condition},
    kernel,
    wait::that,
};

const KIND: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: ";
const GOOD: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: bystander}\nspec: {tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true}]}\n";

#[test]
fn what_the_schema_refuses_is_refused_at_admission_with_the_field() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let world = Untouched::record(fixture);
    let long = "x".repeat(300);
    let many = (0..10_000).map(|port| (port % 60_000 + 1).to_string()).collect::<Vec<_>>().join(",");
    let hooks = "{subsystem: a, event: b},".repeat(10_000);
    let labels = (0..10_000).map(|number| format!("{{key: a{number}, operator: Exists}},")).collect::<String>();
    let cases = [
        ("TracingPolicy\nmetadata: {name: a}\nspec: {tracepoints: 7}", "spec.tracepoints"),
        (&*format!("TracingPolicy\nmetadata: {{name: {long}}}\nspec: {{}}"), "metadata.name"),
        (&*format!("TracingPolicy\nmetadata: {{name: a}}\nspec: {{tracepoints: [{hooks}]}}"), "spec.tracepoints"),
        (
            &*format!(
                "TracingPolicyNamespaced\nmetadata: {{name: a, namespace: default}}\nspec: {{tracepoints: [{hooks}]}}"
            ),
            "spec.tracepoints",
        ),
        (&*format!("FlowCapture\nmetadata: {{name: a, namespace: default}}\nspec: {{ports: [{many}]}}"), "spec.ports"),
        (
            &*format!(
                "AppProfile\nmetadata: {{name: a, namespace: default}}\nspec: {{podSelector: {{matchExpressions: [{labels}]}}}}"
            ),
            "spec.podSelector",
        ),
        ("FlowCapture\nmetadata: {name: a, namespace: default}\nspec: {ports: [70000]}", "spec.ports"),
        ("FlowCapture\nmetadata: {name: a, namespace: default}\nspec: {protocols: [SCTP]}", "spec.protocols"),
        ("AppProfile\nmetadata: {name: a, namespace: default}\nspec: {cpu: {frequencyHz: -1}}", "spec.cpu.frequencyHz"),
        ("AppProfile\nmetadata: {name: a, namespace: default}\nspec: {durationSeconds: soon}", "spec.durationSeconds"),
        ("AppProfile\nmetadata: {name: a, namespace: default}\nspec: {colour: red}", "colour"),
        ("ObservabilityStack\nmetadata: {name: second}\nspec: {}", "default"),
        ("ObservabilityStack\nmetadata: {name: default}\nspec: {security: {mode: Sometimes}}", "spec.security.mode"),
    ];
    for (yaml, field) in cases {
        let said = fixture.kubectl.try_apply(&format!("{KIND}{yaml}\n")).expect_err(&yaml[..yaml.len().min(80)]);
        assert!(said.contains(field), "{field} is not named:\n{}", &said[..said.len().min(2000)]);
    }
    let said = fixture.kubectl.try_apply("kind: [not yaml").unwrap_err();
    assert!(said.contains("YAML"), "{said}");
    world.assert(fixture);
}

#[test]
fn what_only_the_planner_can_know_is_refused_in_status_with_the_field() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let world = Untouched::record(fixture);
    let longest = "x".repeat(253);
    let cases = [
        ("misspelt", "{tracepoint: [{subsystem: sched, event: sched_switch}]}", "InvalidSpec", "spec.tracepoint"),
        (
            &*longest,
            "{tracepoints: [{subsystem: sched, event: sched_switch, selectors: [{matchActions: [{action: Override, argError: -1}]}]}]}",
            "Unsupported",
            "selectors",
        ),
        ("later", "{lsmhooks: [{hook: file_open}]}", "Unsupported", "spec.lsmhooks"),
    ];
    for (name, spec, reason, field) in cases {
        let yaml = format!("{KIND}TracingPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n");
        let _made = DeleteOnDrop(fixture, yaml.clone());
        fixture.kubectl.apply(&yaml);
        let accepted = accepted_is_false(&fixture.kubectl, name);
        assert_eq!(accepted["reason"], reason, "{accepted}");
        assert!(accepted["message"].as_str().unwrap().contains(field), "{accepted}");
    }
    world.assert(fixture);
}

fn accepted_is_false(kubectl: &Kubectl, policy: &str) -> Value {
    eventually("the policy is refused", 30, || {
        let object = kubectl.get(&["tracingpolicy", policy])?;
        let accepted = condition(&object, "Accepted").filter(|accepted| accepted["status"] == "False").cloned();
        accepted.ok_or_else(|| format!("{:#}", object["status"]))
    })
}

/// What bad input must not touch: agents, the operator, and a good policy beside it.
struct Untouched {
    agents: (u32, u32),
    operator: String,
    generation: Value,
    hooks: usize,
    _made: DeleteOnDrop,
}

impl Untouched {
    fn record(fixture: &'static Fixture) -> Self {
        let made = DeleteOnDrop(fixture, GOOD.into());
        fixture.kubectl.apply(GOOD);
        let policy = eventually("the policy beside it is active", 60, || bystander(&fixture.kubectl));
        Self {
            agents: (agents::pid_on("node1"), agents::pid_on("node2")),
            operator: operator(&fixture.kubectl),
            generation: policy["metadata"]["generation"].clone(),
            hooks: kernel::objects().count(kernel::POLICIES),
            _made: made,
        }
    }

    #[track_caller]
    fn assert(self, fixture: &Fixture) {
        let policy = bystander(&fixture.kubectl).unwrap();
        assert_eq!(policy["metadata"]["generation"], self.generation);
        assert_eq!((agents::pid_on("node1"), agents::pid_on("node2")), self.agents, "an agent was restarted");
        assert_eq!(operator(&fixture.kubectl), self.operator, "the operator was restarted");
        assert_eq!(kernel::objects().count(kernel::POLICIES), self.hooks, "the policy beside it is not active");
    }
}

fn bystander(kubectl: &Kubectl) -> Result<Value, String> {
    let policy = kubectl.get(&["tracingpolicy", "bystander"])?;
    that(
        condition(&policy, "Ready").is_some_and(|ready| ready["status"] == "True"),
        format!("{:#}", policy["status"]),
    )?;
    Ok(policy)
}

/// Name and restarts of the operator's pod.
fn operator(kubectl: &Kubectl) -> String {
    let fields = "-o=jsonpath={.items[*].metadata.name} {.items[*].status.containerStatuses[0].restartCount}";
    kubectl.run(&["-n", "trilobite-system", "get", "pod", "-l", "app.kubernetes.io/name=trilobite-operator", fields])
}
