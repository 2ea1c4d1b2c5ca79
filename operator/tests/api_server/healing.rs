//! What another client deletes or edits by hand is as before within ten seconds: each object that the operator makes, and
//! the status of each kind.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    fake_agent::Behaviour,
    test_cluster::{NAMESPACE, STACK, TestCluster, condition, eventually, stack, with_test_cluster},
};

/// How long the operator may take.
const SECONDS: u64 = 10;
const GROUP: &str = "/apis/trilobite.dev/v1alpha1";
const POLICY: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: open}\nspec: {tracepoints: [{subsystem: sched, event: sched_switch}]}\n";
const NAMESPACED: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicyNamespaced\nmetadata: {name: open, namespace: payments}\nspec: {tracepoints: [{subsystem: sched, event: sched_switch}]}\n";
const CAPTURE: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: FlowCapture\nmetadata: {name: tills, namespace: payments}\nspec: {podSelector: {matchLabels: {app: till}}, durationSeconds: 600}\n";

fn profile(name: &str, seconds: u32) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: {name}, namespace: payments}}\nspec: {{podSelector: {{matchLabels: {{app: till}}}}, cpu: {{}}, durationSeconds: {seconds}}}\n"
    )
}

/// A stack with every child, a policy and a running profile on one node.
async fn start(cluster: &mut TestCluster<'_>) -> Arc<Mutex<Behaviour>> {
    let agent = cluster.node("reef-1", Behaviour::default()).await;
    cluster.start_operator();
    cluster.namespace("payments").await;
    cluster.pod("payments", "till-0", "reef-1", "till").await;
    let stack = stack("{security: {mode: Enabled}, network: {mode: OnDemand}, metrics: {enabled: true}}");
    cluster.apply(&format!("{stack}---\n{POLICY}---\n{}", profile("hot", 600)));
    cluster.condition(&format!("{GROUP}/tracingpolicies/open"), "Ready", "True", "Ready").await;
    cluster.condition(&format!("{GROUP}/namespaces/payments/appprofiles/hot"), "Ready", "True", "Ready").await;
    cluster.condition(STACK, "Ready", "True", "Ready").await;
    agent
}

/// Paths of the objects that the operator has made. Older profiles are kept for a while, and not made again.
async fn children(cluster: &TestCluster<'_>) -> Vec<String> {
    let runtime = cluster.get(&format!("{GROUP}/noderuntimes/reef-1")).await.unwrap();
    let profile = format!("{GROUP}/nodeprofiles/{}", runtime["spec"]["profileRef"]["name"].as_str().unwrap());
    let listed = cluster.get(&profile).await.unwrap();
    let parts = listed["spec"]["parts"].as_array().unwrap().iter();
    let parts = parts.map(|part| format!("{GROUP}/profileparts/{}", part["name"].as_str().unwrap()));
    let others = [
        format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/trilobite-node"),
        format!("/api/v1/namespaces/{NAMESPACE}/configmaps/trilobite-node"),
        format!("/api/v1/namespaces/{NAMESPACE}/services/trilobite-node"),
        format!("{GROUP}/noderuntimes/reef-1"),
        profile,
    ];
    let paths: Vec<String> = others.into_iter().chain(parts).collect();
    assert_eq!(paths.len(), 7, "two parts, and one of each other kind: {paths:?}");
    paths
}

#[test]
fn a_deleted_child_is_made_again() {
    with_test_cluster(async |mut cluster| {
        // A fake agent does not survive what is missing.
        start(&mut cluster).await.lock().silent = true;
        for path in &children(&cluster).await {
            let before = cluster.get(path).await.unwrap();
            cluster.delete(path).await;
            eventually(&format!("{path} is made again"), SECONDS, async || {
                let now = cluster.get(path).await?;
                if now["metadata"]["uid"] == before["metadata"]["uid"] {
                    return Err("the old one is still there".into());
                }
                assert_eq!(now["metadata"]["labels"], before["metadata"]["labels"], "{path}");
                if now["spec"]["sessions"] == before["spec"]["sessions"] { Ok(()) } else { Err(now.to_string()) }
            })
            .await;
        }
    });
}

#[test]
fn an_edited_child_is_as_before() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster).await.lock().silent = true;
        let spec_edits = [
            ("/configmaps/", "/data", json!({"data": {"TRILOBITE_METRICS_ADDRESS": "[::]:1"}})),
            ("/services/", "/spec/selector", json!({"spec": {"selector": {"app": "rogue"}}})),
            (
                "/daemonsets/",
                "/spec/template/spec/containers/0/image",
                json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "localhost/rogue:1"}]}}}}),
            ),
            ("/noderuntimes/", "/spec/profileRef", json!({"spec": {"profileRef": null}})),
            ("/noderuntimes/", "/spec/sessions", json!({"spec": {"sessions": []}})),
        ];
        // The spec of these cannot be edited.
        let label_edits = ["/nodeprofiles/", "/profileparts/", "/configmaps/", "/services/"].map(|kind| {
            (kind, "/metadata/labels", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}))
        });
        for path in children(&cluster).await {
            for (kind, field, edit) in spec_edits.iter().chain(&label_edits).filter(|(kind, ..)| path.contains(kind)) {
                let before = cluster.get(&path).await.unwrap();
                cluster.edit(&path, edit).await;
                eventually(&format!("{field} of {kind} is as before"), SECONDS, async || {
                    let now = cluster.get(&path).await?;
                    let (now, before) = (now.pointer(field), before.pointer(field));
                    if now == before { Ok(()) } else { Err(format!("{now:?}, not {before:?}")) }
                })
                .await;
            }
        }
    });
}

#[test]
fn a_deleted_profile_of_a_label_is_made_again() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster).await;
        cluster.label("payments", Some("cpu")).await;
        let path = format!("{GROUP}/namespaces/payments/appprofiles/from-label");
        let before = eventually("it is made", SECONDS, async || cluster.get(&path).await).await;
        cluster.delete(&path).await;
        eventually("it is made again", SECONDS, async || {
            let now = cluster.get(&path).await?;
            if now["metadata"]["uid"] == before["metadata"]["uid"] { Err("the old one".into()) } else { Ok(()) }
        })
        .await;
    });
}

/// The conditions without times, the summary, and begin and end.
fn findings(object: &Value) -> ([Value; 3], Vec<Value>) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let without_time = conditions.into_iter().map(|mut condition| {
        condition.as_object_mut().unwrap().remove("lastTransitionTime");
        condition
    });
    (["summary", "startedAt", "expiresAt"].map(|field| object["status"][field].clone()), without_time.collect())
}

#[test]
fn an_edited_status_is_as_before() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster).await;
        cluster.apply(&format!("{NAMESPACED}---\n{CAPTURE}---\n{}", profile("short", 4)));
        let namespaced = format!("{GROUP}/namespaces/payments");
        cluster.condition(&format!("{namespaced}/appprofiles/short"), "Completed", "True", "DurationElapsed").await;
        let paths = [
            STACK.to_owned(),
            format!("{GROUP}/tracingpolicies/open"),
            format!("{namespaced}/tracingpoliciesnamespaced/open"),
            format!("{namespaced}/flowcaptures/tills"),
            format!("{namespaced}/appprofiles/hot"),
            format!("{namespaced}/appprofiles/short"),
        ];
        // Pending writes are done by then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        for path in paths {
            let before = cluster.get(&path).await.unwrap();
            let mut added = before["status"]["conditions"].as_array().unwrap().clone();
            let absent = if condition(&before, "Stalled").is_none() { "Stalled" } else { "Reconciling" };
            added.push(json!({
                "type": absent, "status": "True", "reason": "Made", "message": "up", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }));
            let edits = [
                json!({"summary": "all is well"}),
                json!({"summary": null, "conditions": []}),
                json!({"conditions": added}),
                json!({"startedAt": "2026-01-01T00:00:00Z"}),
                json!({"startedAt": "2040-01-01T00:00:00Z", "expiresAt": "2040-01-01T01:00:00Z"}),
            ];
            for status in edits {
                cluster.edit(&format!("{path}/status"), &json!({"status": status})).await;
                eventually(&format!("the status of {path} is as before {status}"), SECONDS, async || {
                    let now = cluster.get(&path).await?;
                    if findings(&now) == findings(&before) { Ok(()) } else { Err(format!("{:#}", now["status"])) }
                })
                .await;
            }
        }
    });
}
