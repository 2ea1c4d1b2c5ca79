//! `kubectl describe` tells the truth: condition, reason, count, example and next step, from real agents. What it says is kept
//! word for word in `tests/golden/describe/`, which the docs quote.

use serde_json::Value;
use trilobite_e2e::{
    Fixture, Kubectl, agents, eventually,
    fixture::{DeleteOnDrop, StartOnDrop, condition, stack_yaml},
    golden::{described, golden},
    kernel,
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
fn missing_hook_is_named_and_ten_good_policies_stay_active() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let before = kernel::objects().count(kernel::POLICIES);
    let good: Vec<String> = (0..10).map(|number| policy(&format!("good-{number}"), "sched_process_fork")).collect();
    let all = good.join("---\n") + "---\n" + &policy("bad", "no_such_event");
    let _made = DeleteOnDrop(fixture, all.clone());
    fixture.kubectl.apply(&all);

    until(&fixture.kubectl, &["tracingpolicy", "bad"], "Degraded", "True", "NoSuchTracepoint");
    let object = eventually("both nodes have answered", 30, || {
        let object = fixture.kubectl.get(&["tracingpolicy", "bad"])?;
        that(object["status"]["failures"][0]["count"] == 2, format!("{:#}", object["status"]))?;
        Ok(object)
    });
    assert_eq!(condition(&object, "Ready").unwrap()["status"], "False");
    for number in 0..10 {
        until(&fixture.kubectl, &["tracingpolicy", &format!("good-{number}")], "Ready", "True", "Ready");
    }
    let hooks = kernel::objects();
    assert_eq!(hooks.count(kernel::POLICIES) - before, 2, "one program on each of two nodes: {hooks:?}");
    golden("describe/a-hook-that-does-not-exist.txt", &described(&fixture.kubectl, &["tracingpolicy", "bad"]));
    golden("describe/an-active-policy.txt", &described(&fixture.kubectl, &["tracingpolicy", "good-0"]));
}

#[test]
fn unsupported_field_is_refused_by_its_path() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let yaml = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: later}\nspec: {lsmhooks: [{hook: file_open}]}\n";
    let _made = DeleteOnDrop(fixture, yaml.into());
    fixture.kubectl.apply(yaml);
    let object = until(&fixture.kubectl, &["tracingpolicy", "later"], "Accepted", "False", "Unsupported");
    assert!(condition(&object, "Accepted").unwrap()["message"].as_str().unwrap().contains("spec.lsmhooks"));
    golden("describe/a-field-that-is-not-supported.txt", &described(&fixture.kubectl, &["tracingpolicy", "later"]));
}

#[test]
fn a_stack_that_no_node_matches_is_not_ready() {
    let fixture = Fixture::shared();
    fixture.stack_without_relay("{security: {mode: Enabled}, relay: {mode: Disabled}}");
    fixture.kubectl.apply(&stack_yaml("{runtime: {nodeSelector: {disk: none-such}}, relay: {mode: Disabled}}"));
    until(&fixture.kubectl, &["observabilitystack", "default"], "Degraded", "True", "NoMatchingNodes");
    let object = until(&fixture.kubectl, &["observabilitystack", "default"], "Ready", "False", "NoMatchingNodes");
    assert_eq!(object["status"]["readyNodes"], "0/0");
    golden("describe/no-node-matches.txt", &described(&fixture.kubectl, &["observabilitystack", "default"]));
    eventually("nothing of ours is in the kernel", 30, || {
        let objects = kernel::objects();
        that(objects.is_empty(), format!("{objects:?}"))
    });
    fixture.stack("{security: {mode: Enabled}}");
}

#[test]
fn a_node_whose_agent_is_killed_is_counted_and_named_until_it_is_back() {
    let fixture = Fixture::shared();
    // A relay would run on one of the nodes, whichever it is.
    fixture.stack_without_relay("{security: {mode: Enabled}, relay: {mode: Disabled}}");
    // A kubelet that is away cannot start the agent again: the gap is long enough to be seen.
    let _back = StartOnDrop(fixture, "node2/kubelet");
    fixture.cluster.stop("node2/kubelet").unwrap();
    agents::kill("node2");
    eventually("one of two nodes is ready, the other is named", 150, || {
        let object = fixture.kubectl.get(&["observabilitystack", "default"])?;
        let status = &object["status"];
        let failure = &status["failures"][0];
        let named = failure["exampleNode"] == "node2" && failure["count"] == 1;
        that(status["readyNodes"] == "1/2" && named && failure["reason"] == "AgentSilent", format!("{status:#}"))
    });
    golden("describe/an-agent-that-was-killed.txt", &described(&fixture.kubectl, &["observabilitystack", "default"]));
    fixture.cluster.start("node2/kubelet").unwrap();
    fixture.ready("2/2");
}

#[test]
fn an_image_that_does_not_exist_is_named_and_its_node_is_unknown() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let image = "{image: 'localhost/no-such-image:none', imagePullPolicy: Never}";
    fixture.kubectl.apply(&stack_yaml(&format!("{{security: {{mode: Enabled}}, runtime: {image}}}")));
    let object = until(&fixture.kubectl, &["observabilitystack", "default"], "Degraded", "True", "AgentSilent");
    let failure = &object["status"]["failures"][0];
    assert!(failure["message"].as_str().unwrap().contains("ErrImageNeverPull"), "{failure:#}");
    let node = failure["exampleNode"].as_str().unwrap().to_owned();
    let ready = |status: &str, reason: &str| {
        eventually(&format!("Ready of {node} is {status}"), 60, || {
            let runtime = agents::runtime(&fixture.kubectl, &node)?;
            let found = condition(&runtime, "Ready").is_some_and(|c| c["status"] == status && c["reason"] == reason);
            that(found, format!("{:#}", runtime["status"]))
        });
    };
    ready("Unknown", "AgentSilent");
    eventually("an Event names the cause", 30, || {
        let notes = fixture.kubectl.ask(&["get", "events.events.k8s.io", "-o=jsonpath={.items[*].note}"])?;
        that(notes.contains("ErrImageNeverPull"), notes)
    });
    fixture.stack("{security: {mode: Enabled}}");
    ready("True", "Ready");
}

/// An admission policy that removes a capability from the agents' pods, although the operator asks for it.
const WITHOUT_PERFMON: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: strip-perfmon.e2e}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
    - name: agents
      expression: object.metadata.?labels['app.kubernetes.io/name'].orValue('') == 'trilobite-node'
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          [JSONPatch{op: "replace", path: "/spec/containers/0/securityContext/capabilities/add",
           value: ["BPF", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG"]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: strip-perfmon.e2e}
spec: {policyName: strip-perfmon.e2e}
"#;

#[test]
fn missing_capability_is_named_by_agent_and_stack() {
    let fixture = Fixture::shared();
    fixture.stack_without_relay("{security: {mode: Enabled}, network: {mode: OnDemand}, relay: {mode: Disabled}}");
    {
        let _made = DeleteOnDrop(fixture, WITHOUT_PERFMON.into());
        fixture.kubectl.apply(WITHOUT_PERFMON);
        // The policy takes effect some moments after it was made.
        eventually("agents are made without the capability", 120, || {
            delete_agents(&fixture.kubectl);
            let add = "-o=jsonpath={.items[*].spec.containers[0].securityContext.capabilities.add}";
            let pods = ["-n", "trilobite-system", "get", "pods", "-l", "app.kubernetes.io/name=trilobite-node", add];
            let text = fixture.kubectl.ask(&pods)?;
            that(text.contains("BPF") && !text.contains("PERFMON"), text)
        });
        eventually("both nodes say which capability", 90, || {
            let object = fixture.kubectl.get(&["observabilitystack", "default"])?;
            let failure = &object["status"]["failures"][0];
            that(failure["reason"] == "MissingCapability" && failure["count"] == 2, format!("{:#}", object["status"]))
        });
        let runtime = agents::runtime(&fixture.kubectl, "node1").unwrap();
        let missing = &runtime["status"]["kernel"]["missingCapabilities"];
        assert_eq!(missing.to_string(), r#"["CAP_PERFMON"]"#);
        golden("describe/a-missing-capability.txt", &described(&fixture.kubectl, &["observabilitystack", "default"]));
    }
    delete_agents(&fixture.kubectl);
    fixture.ready("2/2");
}

fn delete_agents(kubectl: &Kubectl) {
    let agents = ["pods", "-l", "app.kubernetes.io/name=trilobite-node", "--wait=true", "--timeout=120s"];
    kubectl.run(&[&["-n", "trilobite-system", "delete"][..], &agents].concat());
}
