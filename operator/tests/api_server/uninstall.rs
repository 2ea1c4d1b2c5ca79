//! CRDs that are deleted before the stack or under a running operator. They are back at the end of each test.

use crate::{
    fake_agent::Behaviour,
    test_cluster::{STACK, TestCluster, eventually, stack, with_test_cluster},
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn wait_until_gone(cluster: &TestCluster<'_>, crd: &str) {
    eventually(&format!("{crd} is gone"), 60, async || match cluster.get(&format!("{CRDS}/{crd}")).await {
        Err(error) if error.contains("not found") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Applies the CRDs and waits until the operator is ready with them.
async fn apply_crds(cluster: &TestCluster<'_>) {
    cluster.apply_crds();
    eventually("the operator is ready", 40, async || {
        let answer = cluster.readyz().await?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[test]
fn crd_applied_while_it_is_deleted_is_waited_for() {
    with_test_cluster(async |mut cluster| {
        let crd = "observabilitystacks.trilobite.dev";
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        // The operator first, then the CRDs: the stack's finalizer keeps both.
        cluster.stop_operator().await;
        cluster.delete(&format!("{CRDS}/{crd}")).await;
        eventually("it is being deleted", 10, async || {
            let found = cluster.get(&format!("{CRDS}/{crd}")).await?;
            if found["metadata"]["deletionTimestamp"].is_string() { Ok(()) } else { Err("it is not".into()) }
        })
        .await;
        cluster.apply_crds();
        cluster.start_operator();
        eventually("the operator says so", 20, async || {
            let answer = cluster.readyz().await?;
            let says = answer.starts_with("HTTP/1.1 503") && answer.contains(&format!("{crd} is being deleted"));
            if says { Ok(()) } else { Err(answer) }
        })
        .await;
        wait_until_gone(&cluster, crd).await;
        apply_crds(&cluster).await;
        cluster.apply(&stack("{}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
    });
}

#[test]
fn crd_deleted_under_a_running_operator_is_named_and_comes_back() {
    with_test_cluster(async |mut cluster| {
        let crd = "tracingpolicies.trilobite.dev";
        let policy = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: open}\nspec: {tracepoints: [{subsystem: sched, event: sched_switch}]}\n";
        let path = "/apis/trilobite.dev/v1alpha1/tracingpolicies/open";
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&format!("{}---\n{policy}", stack("{security: {mode: Enabled}}")));
        cluster.condition(path, "Ready", "True", "Ready").await;
        cluster.delete(&format!("{CRDS}/{crd}")).await;
        wait_until_gone(&cluster, crd).await;
        eventually("the operator says so", 20, async || {
            let answer = cluster.readyz().await?;
            if answer.contains(&format!("{crd} does not exist")) { Ok(()) } else { Err(answer) }
        })
        .await;
        apply_crds(&cluster).await;
        cluster.apply(policy);
        cluster.condition(path, "Ready", "True", "Ready").await;
    });
}
