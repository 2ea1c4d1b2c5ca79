//! The stack, its nodes and its policies.

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    world::{STACK, World, condition, eventually, in_a_world, stack},
};

fn policy(name: &str, hooks: &str) -> String {
    format!(
        "---\napiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec: {{{hooks}}}\n"
    )
}

const OPEN: &str = "tracepoints: [{subsystem: syscalls, event: sys_enter_openat}]";

fn of_policy(name: &str) -> String {
    format!("/apis/trilobite.dev/v1alpha1/tracingpolicies/{name}")
}

async fn ready(world: &World<'_>, nodes: &str) -> Value {
    let stack = world.condition(STACK, "Ready", "True", "Ready").await;
    assert_eq!(stack["status"]["readyNodes"], nodes);
    stack
}

#[test]
fn a_stack_on_two_nodes_becomes_ready_on_both() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.node("reef-2", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{security: {mode: Enabled}, metrics: {enabled: true}}"));
        let stack = ready(&world, "2/2").await;
        assert_eq!(stack["status"]["summary"], "2 of 2 nodes ready");
        for (kind, status) in [("Programmed", "True"), ("Accepted", "True"), ("Degraded", "False")] {
            assert_eq!(condition(&stack, kind).unwrap()["status"], status, "{kind}: {:#}", stack["status"]);
        }
        assert!(condition(&stack, "Reconciling").is_none(), "{:#}", stack["status"]);
        let children = world.kubectl(&["-n", "trilobite-system", "get", "daemonset,configmap,service", "-o", "name"]);
        for child in ["daemonset.apps/trilobite-node", "configmap/trilobite-node", "service/trilobite-node"] {
            assert!(children.contains(child), "{children}");
        }
        println!("{}", world.kubectl(&["describe", "observabilitystack", "default"]));
    });
}

#[test]
fn ten_good_policies_beside_one_that_is_refused_and_one_that_a_kernel_refuses_are_in_force() {
    in_a_world(async |mut world| {
        let message = "spec.tracepoints[0]: tracepoint sched/ink does not exist in this kernel";
        let refuses = vec![("ink".to_owned(), "NoSuchTracepoint".to_owned(), message.to_owned())];
        world.node("reef-1", Behaviour { refuses: refuses.clone(), ..Behaviour::default() }).await;
        world.node("reef-2", Behaviour { refuses, ..Behaviour::default() }).await;
        world.operator();
        let mut all = stack("{security: {mode: Enabled}}");
        (0..10).for_each(|number| all += &policy(&format!("good-{number}"), OPEN));
        all += &policy("ink", "tracepoints: [{subsystem: sched, event: ink}]");
        all += &policy("later", "kprobes: [{call: fd_install}]");
        world.apply(&all);
        for number in 0..10 {
            world.condition(&of_policy(&format!("good-{number}")), "Ready", "True", "Ready").await;
        }
        let later = world.condition(&of_policy("later"), "Accepted", "False", "Unsupported").await;
        assert!(condition(&later, "Accepted").unwrap()["message"].as_str().unwrap().contains("spec.kprobes"));
        assert_eq!(later["status"]["observedGeneration"], 1);
        let ink = world.condition(&of_policy("ink"), "Degraded", "True", "NoSuchTracepoint").await;
        let failure = &ink["status"]["failures"][0];
        assert_eq!(failure["count"], 2);
        assert_eq!((&failure["kernel"], &failure["exampleNode"]), (&"6.12.0-reef".into(), &"reef-1".into()));
        assert_eq!(ink["status"]["summary"], "0 of 2 nodes ready; 2 failing: NoSuchTracepoint x2 (kernel 6.12.0-reef)");
        // A bad policy is the policy's own matter.
        ready(&world, "2/2").await;
        println!("{}", world.kubectl(&["describe", "tracingpolicy", "ink"]));
    });
}

#[test]
fn a_policy_that_is_nested_too_deeply_to_be_read_is_refused_alone_though_it_was_there_first() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        let deep = format!("kprobes: [{}1{}]", "{a: [".repeat(150), "]}".repeat(150));
        world.apply(&(policy("deep", &deep) + &policy("open", OPEN)));
        world.operator();
        world.apply(&stack("{security: {mode: Enabled}}"));
        world.condition(&of_policy("open"), "Ready", "True", "Ready").await;
        eventually("it is told so", 10, async || {
            let path = r#"-ojsonpath={.status.conditions[?(@.type=="Accepted")].message}"#;
            match world.kubectl(&["get", "tracingpolicy", "deep", path]).as_str() {
                "spec.kprobes is not carried out by this version; remove it" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        // Another one while the watch is open.
        world.apply(&policy("deeper", &deep));
        world.apply(&policy("after", OPEN));
        world.condition(&of_policy("after"), "Ready", "True", "Ready").await;
    });
}

#[test]
fn an_agent_that_is_not_ready_is_named_with_what_to_do_next() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        let agent = world.node("reef-2", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{}"));
        ready(&world, "2/2").await;
        agent.lock().unwrap().not_ready = true;
        let stack = world.condition(STACK, "Ready", "False", "TooManyNodesFailing").await;
        assert_eq!(stack["status"]["readyNodes"], "1/2");
        let degraded = condition(&stack, "Degraded").unwrap();
        assert_eq!(degraded["reason"], "AgentNotReady");
        let message = degraded["message"].as_str().unwrap();
        assert!(message.contains("as reef-2") && message.contains("kubectl"), "{message}");
        agent.lock().unwrap().not_ready = false;
        ready(&world, "2/2").await;
    });
}

#[test]
fn an_agent_that_lacks_a_capability_and_one_that_is_silent_are_told_apart() {
    in_a_world(async |mut world| {
        let why = ("MissingCapability".to_owned(), "the agent needs CAP_PERFMON; compare the DaemonSet".to_owned());
        world.node("reef-1", Behaviour { fails: Some(why), ..Behaviour::default() }).await;
        world.node("reef-2", Behaviour { silent: true, ..Behaviour::default() }).await;
        world.operator_with_patience(3);
        world.apply(&stack("{}"));
        let stack = world.condition(STACK, "Degraded", "True", "Mixed").await;
        let reasons: Vec<_> =
            stack["status"]["failures"].as_array().unwrap().iter().map(|failure| failure["reason"].clone()).collect();
        assert_eq!(reasons, ["AgentSilent", "MissingCapability"]);
    });
}

#[test]
fn a_stack_that_no_node_matches_is_ready_and_degraded_and_one_that_matches_again_recovers() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{runtime: {nodeSelector: {reef: none-such}}}"));
        let found = world.condition(STACK, "Degraded", "True", "NoMatchingNodes").await;
        assert_eq!(condition(&found, "Ready").unwrap()["status"], "True");
        assert_eq!(found["status"]["readyNodes"], "0/0");
        world.apply(&stack("{runtime: {nodeSelector: {reef: reef-1}}}"));
        ready(&world, "1/1").await;
    });
}

#[test]
fn suspend_takes_every_part_away_and_keeps_the_agents() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        world.apply(&(stack("{security: {mode: Enabled}}") + &policy("open", OPEN)));
        world.condition(&of_policy("open"), "Ready", "True", "Ready").await;
        world.apply(&stack("{security: {mode: Enabled}, suspend: true}"));
        world.condition(STACK, "Ready", "False", "Suspended").await;
        world.condition(&of_policy("open"), "Ready", "False", "Suspended").await;
        eventually("nothing is in force", 10, async || {
            let runtime = world.get("/apis/trilobite.dev/v1alpha1/noderuntimes/reef-1").await?;
            if runtime["status"]["partsInForce"] == 0 { Ok(()) } else { Err(format!("{:#}", runtime["status"])) }
        })
        .await;
        world.kubectl(&["-n", "trilobite-system", "get", "daemonset", "trilobite-node"]);
        world.apply(&stack("{security: {mode: Enabled}}"));
        world.condition(&of_policy("open"), "Ready", "True", "Ready").await;
    });
}

#[test]
fn resources_that_kubernetes_refuses_are_named_and_hold_no_policy_back() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{security: {mode: Enabled}}"));
        ready(&world, "1/1").await;
        let impossible = "{requests: {memory: 256Mi}, limits: {memory: 128Mi}}";
        let spec = format!("{{security: {{mode: Enabled}}, runtime: {{resources: {impossible}}}}}");
        world.apply(&(stack(&spec) + &policy("open", OPEN)));
        let refused = world.condition(STACK, "Accepted", "False", "InvalidSpec").await;
        let message = condition(&refused, "Accepted").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("DaemonSet") && message.ends_with("correct spec.runtime"), "{message}");
        world.condition(&of_policy("open"), "Ready", "True", "Ready").await;
        world.apply(&stack("{security: {mode: Enabled}}"));
        ready(&world, "1/1").await;
    });
}

#[test]
fn a_new_image_is_in_force_when_the_agents_run_it() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{}"));
        ready(&world, "1/1").await;
        world.apply(&stack("{runtime: {image: 'localhost/trilobite-node:next'}}"));
        ready(&world, "1/1").await;
        let images = ["-n", "trilobite-system", "get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"];
        assert_eq!(world.kubectl(&images), "localhost/trilobite-node:next");
    });
}
