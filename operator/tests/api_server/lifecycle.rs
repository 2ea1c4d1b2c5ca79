//! Restarts of the operator, nodes that join and leave, and the deletion of a stack.

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    test_cluster::{STACK, TestCluster, condition, eventually, stack, with_test_cluster},
};

async fn names(cluster: &TestCluster<'_>, plural: &str) -> Result<Vec<String>, String> {
    let list = cluster.get(&format!("/apis/trilobite.dev/v1alpha1/{plural}")).await?;
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    Ok(list["items"].as_array().unwrap().iter().map(name).collect())
}

#[test]
fn an_operator_that_is_killed_during_a_rollout_finishes_it_later() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.node("reef-2", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        cluster.apply(&stack("{security: {mode: Enabled}, network: {mode: Enabled}}"));
        cluster.kill_operator();
        cluster.start_operator();
        let stack = cluster.condition(STACK, "Ready", "True", "Ready").await;
        assert_eq!(stack["status"]["readyNodes"], "2/2");
    });
}

#[test]
fn a_restart_of_the_operator_changes_no_condition() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.namespace("payments").await;
        cluster.pod("payments", "till-0", "reef-1", "till").await;
        let policy = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: open}\nspec: {tracepoints: [{subsystem: sched, event: sched_switch}]}\n";
        let profile = "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: hot, namespace: payments}\nspec: {podSelector: {matchLabels: {app: till}}, cpu: {}, durationSeconds: 300}\n";
        cluster.apply(&format!("{}---\n{policy}---\n{profile}", stack("{security: {mode: Enabled}}")));
        let group = "/apis/trilobite.dev/v1alpha1";
        let paths = [
            STACK.to_owned(),
            format!("{group}/tracingpolicies/open"),
            format!("{group}/namespaces/payments/appprofiles/hot"),
        ];
        for path in &paths {
            cluster.condition(path, "Ready", "True", "Ready").await;
        }
        // Pending writes are done by then, and a changed transition time differs by whole seconds.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let conditions = async |cluster: &TestCluster<'_>| {
            let mut found = Vec::new();
            for path in &paths {
                found.push(cluster.get(path).await.unwrap()["status"]["conditions"].clone());
            }
            found
        };
        let before = conditions(&cluster).await;
        cluster.kill_operator();
        cluster.start_operator();
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert_eq!(conditions(&cluster).await, before);
    });
}

#[test]
fn a_node_runtime_is_unknown_while_its_agent_is_silent() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        let agent = cluster.node("reef-2", Behaviour { silent: true, ..Behaviour::default() }).await;
        cluster.start_operator_with_grace(3);
        cluster.apply(&stack("{}"));
        let ready = async |cluster: &TestCluster<'_>, node: &str, status: &str, reason: &str| {
            let path = format!("/apis/trilobite.dev/v1alpha1/noderuntimes/{node}");
            eventually(&format!("{node} is {status}"), 20, async || {
                let runtime = cluster.get(&path).await?;
                match condition(&runtime, "Ready") {
                    Some(found) if found["status"] == status && found["reason"] == reason => Ok(()),
                    _ => Err(format!("{:#}", runtime["status"])),
                }
            })
            .await;
        };
        ready(&cluster, "reef-2", "Unknown", "AgentSilent").await;
        ready(&cluster, "reef-1", "True", "Ready").await;
        agent.lock().silent = false;
        ready(&cluster, "reef-2", "True", "Ready").await;
        cluster.condition(STACK, "Ready", "True", "Ready").await;
    });
}

#[test]
fn nodes_that_leave_or_join_change_the_counts() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.node("reef-2", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        cluster.kubectl(&["delete", "node", "reef-2"]);
        eventually("one of one is ready", 20, async || {
            let stack = cluster.get(STACK).await?;
            if stack["status"]["readyNodes"] == "1/1" { Ok(()) } else { Err(format!("{:#}", stack["status"])) }
        })
        .await;
        cluster.node("reef-3", Behaviour::default()).await;
        eventually("two of two are ready", 20, async || {
            let stack = cluster.get(STACK).await?;
            if stack["status"]["readyNodes"] == "2/2" { Ok(()) } else { Err(format!("{:#}", stack["status"])) }
        })
        .await;
        assert_eq!(names(&cluster, "noderuntimes").await.unwrap(), ["reef-1", "reef-3"]);
    });
}

#[test]
fn unused_profiles_and_parts_are_deleted_except_the_last_three() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        for number in 0..7 {
            cluster.apply(&stack(&format!("{{security: {{mode: Enabled, memoryBudgetBytes: {}}}}}", 100_000 + number)));
            cluster.condition(STACK, "Ready", "True", "Ready").await;
        }
        eventually("four profiles are left", 10, async || {
            let (profiles, parts) = (names(&cluster, "nodeprofiles").await?, names(&cluster, "profileparts").await?);
            if profiles.len() == 4 && parts.len() == 4 { Ok(()) } else { Err(format!("{profiles:?} {parts:?}")) }
        })
        .await;
    });
}

#[test]
fn deleting_a_stack_deletes_everything_it_owns_first() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        // In a thread: the operator runs in this one.
        let kubectl =
            std::thread::scope(|_| cluster.kubectl(&["delete", "observabilitystack", "default", "--wait=false"]));
        assert!(kubectl.contains("deleted"), "{kubectl}");
        eventually("it is gone", 40, async || match cluster.get(STACK).await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let left = cluster.kubectl(&["-n", "trilobite-system", "get", "daemonset,pods", "-o", "name"]);
        assert_eq!(left, "");
        assert_eq!(names(&cluster, "noderuntimes").await.unwrap(), Vec::<String>::new());
        eventually("profiles and parts are collected", 30, async || {
            let (profiles, parts) = (names(&cluster, "nodeprofiles").await?, names(&cluster, "profileparts").await?);
            if profiles.is_empty() && parts.is_empty() { Ok(()) } else { Err(format!("{profiles:?} {parts:?}")) }
        })
        .await;
    });
}
