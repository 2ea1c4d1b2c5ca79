//! Restarts, nodes that come and go, and the end of a stack.

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    world::{STACK, World, eventually, in_a_world, stack},
};

async fn names(world: &World<'_>, plural: &str) -> Result<Vec<String>, String> {
    let list = world.get(&format!("/apis/trilobite.dev/v1alpha1/{plural}")).await?;
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    Ok(list["items"].as_array().unwrap().iter().map(name).collect())
}

#[test]
fn an_operator_that_is_killed_during_a_change_converges_when_it_is_back() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.node("reef-2", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{security: {mode: Enabled}}"));
        world.condition(STACK, "Ready", "True", "Ready").await;
        world.apply(&stack("{security: {mode: Enabled}, network: {mode: Enabled}}"));
        world.kill_operator();
        world.operator();
        let stack = world.condition(STACK, "Ready", "True", "Ready").await;
        assert_eq!(stack["status"]["readyNodes"], "2/2");
    });
}

#[test]
fn an_operator_that_has_just_come_takes_no_condition_back() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        world.namespace("payments").await;
        world.pod("payments", "till-0", "reef-1", "till").await;
        let policy = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: open}\nspec: {tracepoints: [{subsystem: sched, event: sched_switch}]}\n";
        let profile = "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: hot, namespace: payments}\nspec: {podSelector: {matchLabels: {app: till}}, cpu: {}, durationSeconds: 300}\n";
        world.apply(&format!("{}---\n{policy}---\n{profile}", stack("{security: {mode: Enabled}}")));
        let group = "/apis/trilobite.dev/v1alpha1";
        let paths = [
            STACK.to_owned(),
            format!("{group}/tracingpolicies/open"),
            format!("{group}/namespaces/payments/appprofiles/hot"),
        ];
        for path in &paths {
            world.condition(path, "Ready", "True", "Ready").await;
        }
        // Everything that follows at once has been written, and a time that changes is another second.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let conditions = async |world: &World<'_>| {
            let mut found = Vec::new();
            for path in &paths {
                found.push(world.get(path).await.unwrap()["status"]["conditions"].clone());
            }
            found
        };
        let before = conditions(&world).await;
        world.kill_operator();
        world.operator();
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert_eq!(conditions(&world).await, before);
    });
}

#[test]
fn a_node_that_leaves_is_no_longer_counted_and_one_that_joins_is() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.node("reef-2", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{}"));
        world.condition(STACK, "Ready", "True", "Ready").await;
        world.kubectl(&["delete", "node", "reef-2"]);
        eventually("one of one is ready", 20, async || {
            let stack = world.get(STACK).await?;
            if stack["status"]["readyNodes"] == "1/1" { Ok(()) } else { Err(format!("{:#}", stack["status"])) }
        })
        .await;
        world.node("reef-3", Behaviour::default()).await;
        eventually("two of two are ready", 20, async || {
            let stack = world.get(STACK).await?;
            if stack["status"]["readyNodes"] == "2/2" { Ok(()) } else { Err(format!("{:#}", stack["status"])) }
        })
        .await;
        assert_eq!(names(&world, "noderuntimes").await.unwrap(), ["reef-1", "reef-3"]);
    });
}

#[test]
fn profiles_and_parts_that_nobody_needs_go_but_for_the_last_few() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        for number in 0..7 {
            world.apply(&stack(&format!("{{security: {{mode: Enabled, memoryBudgetBytes: {}}}}}", 100_000 + number)));
            world.condition(STACK, "Ready", "True", "Ready").await;
        }
        eventually("four profiles are left", 10, async || {
            let (profiles, parts) = (names(&world, "nodeprofiles").await?, names(&world, "profileparts").await?);
            if profiles.len() == 4 && parts.len() == 4 { Ok(()) } else { Err(format!("{profiles:?} {parts:?}")) }
        })
        .await;
    });
}

#[test]
fn a_stack_that_is_deleted_takes_everything_along_before_it_goes() {
    in_a_world(async |mut world| {
        world.node("reef-1", Behaviour::default()).await;
        world.operator();
        world.apply(&stack("{security: {mode: Enabled}}"));
        world.condition(STACK, "Ready", "True", "Ready").await;
        // In a thread: the operator runs in this one.
        let kubectl =
            std::thread::scope(|_| world.kubectl(&["delete", "observabilitystack", "default", "--wait=false"]));
        assert!(kubectl.contains("deleted"), "{kubectl}");
        eventually("it is gone", 40, async || match world.get(STACK).await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let left = world.kubectl(&["-n", "trilobite-system", "get", "daemonset,pods", "-o", "name"]);
        assert_eq!(left, "");
        assert_eq!(names(&world, "noderuntimes").await.unwrap(), Vec::<String>::new());
        eventually("profiles and parts are collected", 30, async || {
            let (profiles, parts) = (names(&world, "nodeprofiles").await?, names(&world, "profileparts").await?);
            if profiles.is_empty() && parts.is_empty() { Ok(()) } else { Err(format!("{profiles:?} {parts:?}")) }
        })
        .await;
    });
}
