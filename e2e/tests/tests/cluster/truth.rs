//! `kubectl describe` tells the truth: condition, reason, count, example and next step, from real agents. What it says is kept
//! word for word in `tests/golden/describe/`, which the docs quote.

use serde_json::Value;
use trilobite_e2e::{
    Kubectl, Stage, agents, eventually,
    golden::{described, golden},
    kernel,
    stage::{Back, Made, condition, stack_yaml},
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
fn a_policy_with_a_hook_that_does_not_exist_says_so_and_ten_good_ones_beside_it_are_in_force() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let before = kernel::objects().count(kernel::POLICIES);
    let good: Vec<String> = (0..10).map(|number| policy(&format!("good-{number}"), "sched_process_fork")).collect();
    let all = good.join("---\n") + "---\n" + &policy("bad", "no_such_event");
    let _made = Made(stage, all.clone());
    stage.kubectl.apply(&all);

    until(&stage.kubectl, &["tracingpolicy", "bad"], "Degraded", "True", "NoSuchTracepoint");
    let object = eventually("both nodes have answered", 30, || {
        let object = stage.kubectl.get(&["tracingpolicy", "bad"])?;
        that(object["status"]["failures"][0]["count"] == 2, format!("{:#}", object["status"]))?;
        Ok(object)
    });
    assert_eq!(condition(&object, "Ready").unwrap()["status"], "False");
    for number in 0..10 {
        until(&stage.kubectl, &["tracingpolicy", &format!("good-{number}")], "Ready", "True", "Ready");
    }
    let hooks = kernel::objects();
    assert_eq!(hooks.count(kernel::POLICIES) - before, 20, "ten policies on two nodes: {hooks:?}");
    golden("describe/a-hook-that-does-not-exist.txt", &described(&stage.kubectl, &["tracingpolicy", "bad"]));
    golden("describe/a-policy-in-force.txt", &described(&stage.kubectl, &["tracingpolicy", "good-0"]));
}

#[test]
fn a_field_that_is_not_carried_out_is_refused_by_its_path() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    let yaml = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: later}\nspec: {kprobes: [{call: tcp_connect, syscall: false}]}\n";
    let _made = Made(stage, yaml.into());
    stage.kubectl.apply(yaml);
    let object = until(&stage.kubectl, &["tracingpolicy", "later"], "Accepted", "False", "Unsupported");
    assert!(condition(&object, "Accepted").unwrap()["message"].as_str().unwrap().contains("spec.kprobes"));
    golden("describe/a-field-that-is-not-carried-out.txt", &described(&stage.kubectl, &["tracingpolicy", "later"]));
}

#[test]
fn a_stack_that_no_node_matches_is_ready_and_degraded() {
    let stage = Stage::shared();
    stage.kubectl.apply(&stack_yaml("{runtime: {nodeSelector: {disk: none-such}}}"));
    until(&stage.kubectl, &["observabilitystack", "default"], "Degraded", "True", "NoMatchingNodes");
    let object = until(&stage.kubectl, &["observabilitystack", "default"], "Ready", "True", "NoMatchingNodes");
    assert_eq!(object["status"]["readyNodes"], "0/0");
    golden("describe/no-node-matches.txt", &described(&stage.kubectl, &["observabilitystack", "default"]));
    eventually("nothing of ours is in the kernel", 30, || {
        let objects = kernel::objects();
        that(objects.is_empty(), format!("{objects:?}"))
    });
    stage.stack("{security: {mode: Enabled}}");
}

#[test]
fn a_node_whose_agent_is_killed_is_counted_and_named_until_it_is_back() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    // A kubelet that is away cannot start the agent again: the gap is long enough to be seen.
    let _back = Back(stage, "node2/kubelet");
    stage.cluster.stop("node2/kubelet").unwrap();
    agents::kill("node2");
    eventually("one of two nodes is ready, the other is named", 150, || {
        let object = stage.kubectl.get(&["observabilitystack", "default"])?;
        let status = &object["status"];
        let failure = &status["failures"][0];
        let named = failure["exampleNode"] == "node2" && failure["count"] == 1;
        let reasons = ["AgentSilent", "AgentNotReady"].map(Value::from);
        that(status["readyNodes"] == "1/2" && named && reasons.contains(&failure["reason"]), format!("{status:#}"))
    });
    golden("describe/an-agent-that-was-killed.txt", &described(&stage.kubectl, &["observabilitystack", "default"]));
    stage.cluster.start("node2/kubelet").unwrap();
    stage.ready("2/2");
}

/// As where somebody's admission policy strips what it does not know: the operator asks for it, and the pods do not get it.
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
fn an_agent_whose_pod_lacks_a_capability_says_which_and_so_does_the_stack() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}, network: {mode: OnDemand}}");
    {
        let _made = Made(stage, WITHOUT_PERFMON.into());
        stage.kubectl.apply(WITHOUT_PERFMON);
        // The policy is in force some moments after it was made.
        eventually("agents are made without the capability", 120, || {
            delete_agents(&stage.kubectl);
            let add = "-o=jsonpath={.items[*].spec.containers[0].securityContext.capabilities.add}";
            let pods = ["-n", "trilobite-system", "get", "pods", "-l", "app.kubernetes.io/name=trilobite-node", add];
            let text = stage.kubectl.ask(&pods)?;
            that(text.contains("BPF") && !text.contains("PERFMON"), text)
        });
        eventually("both nodes say which capability", 90, || {
            let object = stage.kubectl.get(&["observabilitystack", "default"])?;
            let failure = &object["status"]["failures"][0];
            that(failure["reason"] == "MissingCapability" && failure["count"] == 2, format!("{:#}", object["status"]))
        });
        let runtime = agents::runtime(&stage.kubectl, "node1").unwrap();
        let missing = &runtime["status"]["kernel"]["missingCapabilities"];
        assert_eq!(missing.to_string(), r#"["CAP_PERFMON"]"#);
        golden("describe/a-missing-capability.txt", &described(&stage.kubectl, &["observabilitystack", "default"]));
    }
    delete_agents(&stage.kubectl);
    stage.ready("2/2");
}

fn delete_agents(kubectl: &Kubectl) {
    let agents = ["pods", "-l", "app.kubernetes.io/name=trilobite-node", "--wait=true", "--timeout=120s"];
    kubectl.run(&[&["-n", "trilobite-system", "delete"][..], &agents].concat());
}
