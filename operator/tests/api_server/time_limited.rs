//! AppProfiles, FlowCaptures, and the label that makes an AppProfile.

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    test_cluster::{TestCluster, condition, eventually, stack, with_test_cluster},
};

const HOT: &str = "/apis/trilobite.dev/v1alpha1/namespaces/payments/appprofiles/hot";

fn profile(seconds: u32) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: hot, namespace: payments}}\nspec: {{podSelector: {{matchLabels: {{app: till}}}}, cpu: {{}}, durationSeconds: {seconds}}}\n"
    )
}

async fn sessions(cluster: &TestCluster<'_>, node: &str) -> Result<Vec<Value>, String> {
    let runtime = cluster.get(&format!("/apis/trilobite.dev/v1alpha1/noderuntimes/{node}")).await?;
    Ok(runtime["spec"]["sessions"].as_array().cloned().unwrap_or_default())
}

async fn with_two_nodes(cluster: &mut TestCluster<'_>) {
    cluster.node("reef-1", Behaviour::default()).await;
    cluster.node("reef-2", Behaviour::default()).await;
    cluster.start_operator();
    cluster.namespace("payments").await;
    cluster.apply(&stack("{security: {mode: Disabled}}"));
}

#[test]
fn a_profile_runs_only_on_nodes_with_a_matching_pod() {
    with_test_cluster(async |mut cluster| {
        with_two_nodes(&mut cluster).await;
        cluster.pod("payments", "till-0", "reef-2", "till").await;
        cluster.pod("payments", "shelf-0", "reef-1", "shelf").await;
        cluster.apply(&profile(15));
        let running = cluster.condition(HOT, "Completed", "False", "Running").await;
        let expires = running["status"]["expiresAt"].clone();
        eventually("reef-2 has the session", 10, async || {
            let found = sessions(&cluster, "reef-2").await?;
            if found.len() == 1 && found[0]["expiresAt"] == expires { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(sessions(&cluster, "reef-1").await.unwrap(), Vec::<Value>::new());
        cluster.condition(HOT, "Ready", "True", "Ready").await;
        let done = cluster.condition(HOT, "Completed", "True", "DurationElapsed").await;
        assert_eq!(done["status"]["results"], serde_json::json!({"samples": 490, "lost": 3, "nodes": 1}));
        assert_eq!(done["status"]["expiresAt"], expires);
        eventually("the session is removed", 10, async || match sessions(&cluster, "reef-2").await?.len() {
            0 => Ok(()),
            _ => Err("still there".into()),
        })
        .await;
        println!("{}", cluster.kubectl(&["-n", "payments", "describe", "appprofile", "hot"]));
        // A completed profile keeps its status, also after a restart of the operator.
        cluster.stop_operator().await;
        cluster.start_operator();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(cluster.get(HOT).await.unwrap()["status"], done["status"]);
    });
}

#[test]
fn a_completed_object_is_deleted_its_ttl_after_the_end() {
    with_test_cluster(async |mut cluster| {
        with_two_nodes(&mut cluster).await;
        cluster.pod("payments", "till-0", "reef-2", "till").await;
        let object = |kind: &str, name: &str, spec: &str| {
            format!(
                "---\napiVersion: trilobite.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: payments}}\nspec: {{podSelector: {{}}, durationSeconds: 2, {spec}}}\n"
            )
        };
        cluster.apply(
            &[
                object("AppProfile", "later", "cpu: {}, ttlSecondsAfterFinished: 8"),
                object("FlowCapture", "at-once", "ttlSecondsAfterFinished: 0"),
                object("FlowCapture", "kept", "ports: [53]"),
            ]
            .concat(),
        );
        let path =
            |plural: &str, name: &str| format!("/apis/trilobite.dev/v1alpha1/namespaces/payments/{plural}/{name}");
        let is_gone = async |path: String| match cluster.get(&path).await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let later = cluster.condition(&path("appprofiles", "later"), "Completed", "True", "DurationElapsed").await;
        let ended: jiff::Timestamp =
            serde_json::from_value(condition(&later, "Completed").unwrap()["lastTransitionTime"].clone()).unwrap();
        cluster.condition(&path("flowcaptures", "kept"), "Completed", "True", "DurationElapsed").await;
        eventually("the capture is gone", 10, async || is_gone(path("flowcaptures", "at-once")).await).await;
        eventually("the profile is gone", 15, async || is_gone(path("appprofiles", "later")).await).await;
        // Times in a status are whole seconds.
        let kept_for = jiff::Timestamp::now().duration_since(ended).as_secs();
        assert!((7..=12).contains(&kept_for), "{kept_for} s");
        cluster.get(&path("flowcaptures", "kept")).await.unwrap();
    });
}

#[test]
fn profiles_above_the_budget_of_a_namespace_wait_for_older_ones() {
    with_test_cluster(async |mut cluster| {
        with_two_nodes(&mut cluster).await;
        cluster.namespace("shop").await;
        cluster.apply(&stack("{tenancy: {perNamespace: {profiles: 1, captures: 1}}}"));
        let object = |kind: &str, namespace: &str, name: &str, spec: &str| {
            format!(
                "---\napiVersion: trilobite.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{podSelector: {{}}, {spec}}}\n"
            )
        };
        let path = |namespace: &str, plural: &str, name: &str| {
            format!("/apis/trilobite.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}")
        };
        cluster.apply(&object("AppProfile", "payments", "older", "cpu: {}, durationSeconds: 600"));
        cluster.condition(&path("payments", "appprofiles", "older"), "Accepted", "True", "Valid").await;
        // Creation times are whole seconds; of the same second, the name decides.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cluster.apply(
            &[
                object("AppProfile", "payments", "newer", "cpu: {}, durationSeconds: 600"),
                object("AppProfile", "shop", "newer", "cpu: {}, durationSeconds: 600"),
                object("FlowCapture", "payments", "newer", "durationSeconds: 600"),
            ]
            .concat(),
        );
        let newer = path("payments", "appprofiles", "newer");
        let refused = cluster.condition(&newer, "Accepted", "False", "NamespaceBudgetExceeded").await;
        let message = condition(&refused, "Accepted").unwrap()["message"].as_str().unwrap();
        assert!(message.contains("1 AppProfile in use by older"), "{message}");
        assert!(condition(&refused, "Stalled").is_none(), "it can end by itself: {:#}", refused["status"]);
        cluster.condition(&path("shop", "appprofiles", "newer"), "Accepted", "True", "Valid").await;
        cluster.condition(&path("payments", "flowcaptures", "newer"), "Accepted", "True", "Valid").await;
        cluster.delete(&path("payments", "appprofiles", "older")).await;
        cluster.condition(&newer, "Accepted", "True", "Valid").await;
    });
}

#[test]
fn a_later_pod_gets_the_session_and_deleting_the_profile_removes_it() {
    with_test_cluster(async |mut cluster| {
        with_two_nodes(&mut cluster).await;
        cluster.apply(&profile(300));
        cluster.condition(HOT, "Degraded", "True", "NoMatchingPods").await;
        cluster.pod("payments", "till-0", "reef-1", "till").await;
        eventually("reef-1 has the session", 10, async || match sessions(&cluster, "reef-1").await?.len() {
            1 => Ok(()),
            _ => Err("not there".into()),
        })
        .await;
        cluster.condition(HOT, "Ready", "True", "Ready").await;
        // Deleted while the operator is down; it removes the session after its restart.
        cluster.kill_operator();
        cluster.kubectl(&["-n", "payments", "delete", "appprofile", "hot"]);
        cluster.start_operator();
        eventually("the session is removed", 20, async || match sessions(&cluster, "reef-1").await?.len() {
            0 => Ok(()),
            _ => Err("still there".into()),
        })
        .await;
    });
}

#[test]
fn a_namespace_label_creates_a_profile_and_its_removal_deletes_it() {
    with_test_cluster(async |mut cluster| {
        with_two_nodes(&mut cluster).await;
        let from_label = "/apis/trilobite.dev/v1alpha1/namespaces/payments/appprofiles/from-label";
        cluster.label("payments", Some("cpu")).await;
        let created = eventually("it is created", 10, async || cluster.get(from_label).await).await;
        assert_eq!(created["metadata"]["ownerReferences"][0]["kind"], "Namespace");
        assert_eq!(created["spec"]["cpu"]["frequencyHz"], 49);
        cluster.label("payments", None).await;
        eventually("it is deleted", 10, async || match cluster.get(from_label).await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        cluster.label("payments", Some("nfs")).await;
        eventually("an Event says why", 10, async || {
            let events = cluster.kubectl(&["-n", "payments", "get", "events.events.k8s.io", "-o", "yaml"]);
            if events.contains("known are cpu, all, http") { Ok(()) } else { Err(events) }
        })
        .await;
    });
}

#[test]
fn a_capture_without_a_stack_or_with_its_layer_off_says_so() {
    with_test_cluster(async |mut cluster| {
        cluster.start_operator();
        cluster.namespace("payments").await;
        let path = "/apis/trilobite.dev/v1alpha1/namespaces/payments/flowcaptures/tills";
        cluster.apply("apiVersion: trilobite.dev/v1alpha1\nkind: FlowCapture\nmetadata: {name: tills, namespace: payments}\nspec: {podSelector: {}, durationSeconds: 30}\n");
        let refused = cluster.condition(path, "Accepted", "False", "NoStack").await;
        // Another object can resolve it, so a client that waits keeps waiting.
        assert_eq!(condition(&refused, "Reconciling").unwrap()["reason"], "NoStack");
        assert!(condition(&refused, "Stalled").is_none());
        cluster.apply(&stack("{network: {mode: Disabled}}"));
        cluster.condition(path, "Accepted", "False", "LayerDisabled").await;
        cluster.apply(&stack("{network: {mode: OnDemand}}"));
        cluster.condition(path, "Accepted", "True", "Valid").await;
    });
}
