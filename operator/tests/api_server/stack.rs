//! The stack, its nodes and its policies.

use std::time::Duration;

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    test_cluster::{STACK, TestCluster, condition, eventually, stack, with_test_cluster},
};

fn policy(name: &str, hooks: &str) -> String {
    format!(
        "---\napiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec: {{{hooks}}}\n"
    )
}

const OPEN: &str = "tracepoints: [{subsystem: syscalls, event: sys_enter_openat}]";

fn policy_path(name: &str) -> String {
    format!("/apis/trilobite.dev/v1alpha1/tracingpolicies/{name}")
}

async fn wait_until_ready(cluster: &TestCluster<'_>, nodes: &str) -> Value {
    let stack = cluster.condition(STACK, "Ready", "True", "Ready").await;
    assert_eq!(stack["status"]["readyNodes"], nodes);
    stack
}

#[test]
fn a_stack_on_two_nodes_becomes_ready_on_both() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.node("reef-2", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}, metrics: {enabled: true}}"));
        let stack = wait_until_ready(&cluster, "2/2").await;
        assert_eq!(stack["status"]["summary"], "2 of 2 nodes ready");
        assert!(stack["status"]["observedAt"].is_string(), "{:#}", stack["status"]);
        for (kind, status) in [("Programmed", "True"), ("Accepted", "True"), ("Degraded", "False")] {
            assert_eq!(condition(&stack, kind).unwrap()["status"], status, "{kind}: {:#}", stack["status"]);
        }
        assert!(condition(&stack, "Reconciling").is_none(), "{:#}", stack["status"]);
        let objects = cluster.kubectl(&["-n", "trilobite-system", "get", "daemonset,configmap,service", "-o", "name"]);
        for object in ["daemonset.apps/trilobite-node", "configmap/trilobite-node", "service/trilobite-node"] {
            assert!(objects.contains(object), "{objects}");
        }
        println!("{}", cluster.kubectl(&["describe", "observabilitystack", "default"]));
    });
}

#[test]
fn good_policies_are_active_beside_refused_and_failing_ones() {
    with_test_cluster(async |mut cluster| {
        let message = "spec.tracepoints[0]: tracepoint sched/ink does not exist in this kernel";
        let refuses = vec![("ink".to_owned(), "NoSuchTracepoint".to_owned(), message.to_owned())];
        cluster.node("reef-1", Behaviour { refuses: refuses.clone(), ..Behaviour::default() }).await;
        cluster.node("reef-2", Behaviour { refuses, ..Behaviour::default() }).await;
        cluster.start_operator();
        let mut all = stack("{security: {mode: Enabled}}");
        (0..10).for_each(|number| all += &policy(&format!("good-{number}"), OPEN));
        all += &policy("ink", "tracepoints: [{subsystem: sched, event: ink}]");
        all += &policy("later", "lsmhooks: [{hook: file_open}]");
        cluster.apply(&all);
        for number in 0..10 {
            cluster.condition(&policy_path(&format!("good-{number}")), "Ready", "True", "Ready").await;
        }
        let later = cluster.condition(&policy_path("later"), "Accepted", "False", "Unsupported").await;
        assert!(condition(&later, "Accepted").unwrap()["message"].as_str().unwrap().contains("spec.lsmhooks"));
        assert_eq!(later["status"]["observedGeneration"], 1);
        let ink = cluster.condition(&policy_path("ink"), "Degraded", "True", "NoSuchTracepoint").await;
        let failure = &ink["status"]["failures"][0];
        assert_eq!(failure["count"], 2);
        assert_eq!((&failure["kernel"], &failure["exampleNode"]), (&"6.12.0-reef".into(), &"reef-1".into()));
        assert_eq!(ink["status"]["summary"], "0 of 2 nodes ready; 2 failing: NoSuchTracepoint x2 (kernel 6.12.0-reef)");
        // No node will ever have it, so a client that waits can stop waiting.
        assert_eq!(condition(&ink, "Stalled").unwrap()["reason"], "NoSuchTracepoint");
        assert!(condition(&ink, "Reconciling").is_none(), "{:#}", ink["status"]);
        // A failing policy does not affect the stack.
        wait_until_ready(&cluster, "2/2").await;
        println!("{}", cluster.kubectl(&["describe", "tracingpolicies.trilobite.dev", "ink"]));
    });
}

#[test]
fn edited_policies_leave_the_stack_ready() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.node("reef-2", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: OnDemand}}"));
        wait_until_ready(&cluster, "2/2").await;
        // A changed transition time differs by whole seconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let since = async |cluster: &TestCluster<'_>| {
            let stack = cluster.get(STACK).await.unwrap();
            condition(&stack, "Ready").unwrap()["lastTransitionTime"].clone()
        };
        let before = since(&cluster).await;
        for event in ["sched_switch", "sched_wakeup", "sched_process_fork"] {
            cluster.apply(&policy("open", &format!("tracepoints: [{{subsystem: sched, event: {event}}}]")));
            cluster.condition(&policy_path("open"), "Ready", "True", "Ready").await;
        }
        cluster.kubectl(&["delete", "tracingpolicies.trilobite.dev", "open"]);
        cluster.condition(STACK, "Programmed", "True", "AllNodesApplied").await;
        assert_eq!(since(&cluster).await, before);
    });
}

#[test]
fn a_policy_that_is_nested_too_deeply_is_refused_alone() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        let deep = format!("rollout: [{}1{}]", "{a: [".repeat(150), "]}".repeat(150));
        cluster.apply(&(policy("deep", &deep) + &policy("open", OPEN)));
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        cluster.condition(&policy_path("open"), "Ready", "True", "Ready").await;
        eventually("its condition says so", 10, async || {
            let path = r#"-ojsonpath={.status.conditions[?(@.type=="Accepted")].message}"#;
            match cluster.kubectl(&["get", "tracingpolicies.trilobite.dev", "deep", path]).as_str() {
                "spec.rollout is not supported yet; remove it" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        // Another one, received by the open watch.
        cluster.apply(&policy("deeper", &deep));
        cluster.apply(&policy("after", OPEN));
        cluster.condition(&policy_path("after"), "Ready", "True", "Ready").await;
    });
}

#[test]
fn an_agent_that_is_not_ready_is_named_with_the_next_step() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        let agent = cluster.node("reef-2", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{}"));
        wait_until_ready(&cluster, "2/2").await;
        agent.lock().not_ready = true;
        let stack = cluster.condition(STACK, "Ready", "False", "TooManyNodesFailing").await;
        assert_eq!(stack["status"]["readyNodes"], "1/2");
        let degraded = condition(&stack, "Degraded").unwrap();
        assert_eq!(degraded["reason"], "AgentNotReady");
        let message = degraded["message"].as_str().unwrap();
        assert!(message.contains("e.g. reef-2") && message.contains("kubectl"), "{message}");
        agent.lock().not_ready = false;
        wait_until_ready(&cluster, "2/2").await;
    });
}

#[test]
fn a_missing_capability_differs_from_a_silent_agent() {
    with_test_cluster(async |mut cluster| {
        let why = ("MissingCapability".to_owned(), "the agent needs CAP_PERFMON; compare the DaemonSet".to_owned());
        cluster.node("reef-1", Behaviour { fails: Some(why), ..Behaviour::default() }).await;
        cluster.node("reef-2", Behaviour { silent: true, ..Behaviour::default() }).await;
        cluster.start_operator_with_grace(3);
        cluster.apply(&stack("{}"));
        let stack = cluster.condition(STACK, "Degraded", "True", "Mixed").await;
        let reasons: Vec<_> =
            stack["status"]["failures"].as_array().unwrap().iter().map(|failure| failure["reason"].clone()).collect();
        assert_eq!(reasons, ["AgentSilent", "MissingCapability"]);
    });
}

#[test]
fn a_stack_without_matching_nodes_is_not_ready_until_one_matches() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{runtime: {nodeSelector: {reef: none-such}}}"));
        let found = cluster.condition(STACK, "Degraded", "True", "NoMatchingNodes").await;
        assert_eq!(condition(&found, "Ready").unwrap()["status"], "False");
        assert_eq!(condition(&found, "Stalled").unwrap()["reason"], "NoMatchingNodes");
        assert_eq!(found["status"]["readyNodes"], "0/0");
        cluster.apply(&stack("{runtime: {nodeSelector: {reef: reef-1}}}"));
        wait_until_ready(&cluster, "1/1").await;
    });
}

#[test]
fn a_policy_in_a_namespace_that_the_stack_leaves_out_is_not_ready() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.namespace("payments").await;
        cluster.apply(&stack("{security: {mode: Enabled, namespaceSelector: {matchLabels: {team: coral}}}}"));
        let spec = format!("spec: {{{OPEN}}}");
        cluster.apply(&format!(
            "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicyNamespaced\nmetadata: {{name: open, namespace: payments}}\n{spec}\n"
        ));
        let path = "/apis/trilobite.dev/v1alpha1/namespaces/payments/tracingpoliciesnamespaced/open";
        cluster.condition(path, "Ready", "False", "NoMatchingPods").await;
        cluster.kubectl(&["label", "namespace", "payments", "team=coral"]);
        cluster.condition(path, "Ready", "True", "Ready").await;
        cluster.kubectl(&["label", "namespace", "payments", "team-"]);
        cluster.condition(path, "Ready", "False", "NoMatchingPods").await;
    });
}

#[test]
fn suspend_unloads_every_part_and_keeps_the_agents() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&(stack("{security: {mode: Enabled}}") + &policy("open", OPEN)));
        cluster.condition(&policy_path("open"), "Ready", "True", "Ready").await;
        cluster.apply(&stack("{security: {mode: Enabled}, suspend: true}"));
        cluster.condition(STACK, "Ready", "False", "Suspended").await;
        cluster.condition(&policy_path("open"), "Ready", "False", "Suspended").await;
        eventually("nothing is active", 10, async || {
            let runtime = cluster.get("/apis/trilobite.dev/v1alpha1/noderuntimes/reef-1").await?;
            if runtime["status"]["partsInForce"] == 0 { Ok(()) } else { Err(format!("{:#}", runtime["status"])) }
        })
        .await;
        cluster.kubectl(&["-n", "trilobite-system", "get", "daemonset", "trilobite-node"]);
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        cluster.condition(&policy_path("open"), "Ready", "True", "Ready").await;
    });
}

#[test]
fn rejected_resources_are_named_and_do_not_block_policies() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        wait_until_ready(&cluster, "1/1").await;
        let impossible = "{requests: {memory: 256Mi}, limits: {memory: 128Mi}}";
        let spec = format!("{{security: {{mode: Enabled}}, runtime: {{resources: {impossible}}}}}");
        cluster.apply(&(stack(&spec) + &policy("open", OPEN)));
        let refused = cluster.condition(STACK, "Accepted", "False", "InvalidSpec").await;
        let message = condition(&refused, "Accepted").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("DaemonSet") && message.ends_with("correct spec.runtime"), "{message}");
        cluster.condition(&policy_path("open"), "Ready", "True", "Ready").await;
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        wait_until_ready(&cluster, "1/1").await;
    });
}

#[test]
fn a_stack_with_a_new_image_is_ready_when_agents_run_it() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{}"));
        wait_until_ready(&cluster, "1/1").await;
        cluster.apply(&stack("{runtime: {image: 'localhost/trilobite-node:next'}}"));
        wait_until_ready(&cluster, "1/1").await;
        let images = [
            "-n",
            "trilobite-system",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=trilobite-node",
            "-o",
            "jsonpath={.items[*].spec.containers[0].image}",
        ];
        assert_eq!(cluster.kubectl(&images), "localhost/trilobite-node:next");
    });
}
