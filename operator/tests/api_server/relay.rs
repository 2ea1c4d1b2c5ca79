//! The life of the relay's objects, first of all of its APIService: what does not answer there delays the deletion of every
//! namespace.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    fake_agent::Behaviour,
    test_cluster::{API_SERVICE, NAMESPACE, STACK, TestCluster, eventually, stack, with_test_cluster},
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const RUNTIME: &str = "/apis/trilobite.dev/v1alpha1/noderuntimes/reef-1";

/// A node that runs the relay's pods.
async fn start(cluster: &mut TestCluster<'_>, relay_grace: u32) -> Arc<Mutex<Behaviour>> {
    let node = cluster.node("reef-1", Behaviour { relay_ready: Some(true), ..Behaviour::default() }).await;
    cluster.start_operator_with_relay_grace(relay_grace);
    cluster.apply(&stack("{}"));
    registered(cluster).await;
    node
}

async fn registered(cluster: &TestCluster<'_>) -> Value {
    eventually("the APIService exists", 20, async || cluster.get(API_SERVICE).await).await
}

async fn is_gone(cluster: &TestCluster<'_>, path: &str, seconds: u64) {
    eventually(&format!("{path} is gone"), seconds, async || match cluster.get(path).await {
        Err(error) if error.contains("not found") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

fn deployment() -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/trilobite-relay")
}

#[test]
fn api_service_lives_while_a_replica_is_available() {
    with_test_cluster(async |mut cluster| {
        cluster.namespace("shop").await;
        let node = start(&mut cluster, 60).await;
        let service = registered(&cluster).await;
        let bundle = cluster.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/trilobite-ca")).await.unwrap();
        let trusted: k8s_openapi::ByteString = serde_json::from_value(service["spec"]["caBundle"].clone()).unwrap();
        assert_eq!(bundle["data"]["ca.crt"], String::from_utf8(trusted.0).unwrap());
        cluster.condition(STACK, "RelayReady", "True", "Ready").await;
        let listen = cluster.get(RUNTIME).await.unwrap()["spec"]["listen"].clone();
        assert_eq!(listen["address"], "[::]:4244");
        let hubble = format!("/api/v1/namespaces/{NAMESPACE}/services/hubble-relay");
        let ports = cluster.get(&hubble).await.unwrap()["spec"]["ports"].clone();
        assert_eq!((&ports[0]["port"], &ports[1]["port"]), (&json!(80), &json!(443)));
        let secret = format!("/api/v1/namespaces/{NAMESPACE}/secrets/hubble-relay-client-certs");
        let peer = format!("/api/v1/namespaces/{NAMESPACE}/services/hubble-peer");
        cluster.apply(&stack("{relay: {hubbleRelay: Enabled}}"));
        eventually("the Secret of hubble-relay exists", 20, async || cluster.get(&secret).await).await;
        cluster.get(&peer).await.unwrap();
        cluster.apply(&stack("{}"));
        is_gone(&cluster, &secret, 20).await;
        is_gone(&cluster, &peer, 10).await;

        // The relay is killed: a namespace that is deleted now goes away.
        node.lock().relay_ready = Some(false);
        is_gone(&cluster, API_SERVICE, 30).await;
        cluster.delete("/api/v1/namespaces/shop").await;
        is_gone(&cluster, "/api/v1/namespaces/shop", 60).await;
        cluster.condition(STACK, "RelayReady", "False", "RelayUnavailable").await;
        node.lock().relay_ready = Some(true);
        registered(&cluster).await;

        cluster.apply(&stack("{suspend: true}"));
        is_gone(&cluster, API_SERVICE, 10).await;
        is_gone(&cluster, &deployment(), 10).await;
        is_gone(&cluster, &hubble, 10).await;
        cluster.condition(STACK, "RelayReady", "False", "Suspended").await;
        eventually("the agent's port is closed", 10, async || {
            let spec = cluster.get(RUNTIME).await?["spec"].clone();
            if spec["listen"].is_null() { Ok(()) } else { Err(spec.to_string()) }
        })
        .await;
    });
}

#[test]
fn api_service_goes_before_its_stack() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, 60).await;
        cluster.delete(STACK).await;
        is_gone(&cluster, API_SERVICE, 10).await;
        is_gone(&cluster, STACK, 40).await;
        let pods = cluster.kubectl(&["-n", NAMESPACE, "get", "deployment,pods", "-o", "name"]);
        assert_eq!(pods, "");
        let ca = format!("/api/v1/namespaces/{NAMESPACE}/secrets/trilobite-ca");
        is_gone(&cluster, &ca, 20).await;
    });
}

#[test]
fn api_service_goes_with_the_chart_when_no_operator_is_left() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, 60).await;
        cluster.kill_operator();
        cluster.kubectl(&["delete", "clusterrole", "trilobite-operator"]);
        is_gone(&cluster, API_SERVICE, 30).await;
        cluster.install();
    });
}

#[test]
fn relay_that_cannot_be_reached_is_withdrawn() {
    with_test_cluster(async |mut cluster| {
        cluster.namespace("shop").await;
        start(&mut cluster, 2).await;
        // The pods of the fake relay have no address.
        is_gone(&cluster, API_SERVICE, 30).await;
        let stack = cluster.condition(STACK, "RelayReady", "False", "RelayUnavailable").await;
        let conditions = stack["status"]["conditions"].as_array().unwrap();
        let message = conditions.iter().find(|one| one["type"] == "RelayReady").unwrap()["message"].clone();
        assert!(message.as_str().unwrap().starts_with("the API server cannot reach the relay ("), "{message}");
        cluster.delete("/api/v1/namespaces/shop").await;
        is_gone(&cluster, "/api/v1/namespaces/shop", 60).await;
    });
}

/// Stores a spec that no schema permits, as an older version of the CRD may have.
async fn make_unreadable(cluster: &TestCluster<'_>) {
    let crd = format!("{CRDS}/observabilitystacks.trilobite.dev");
    let mut versions = cluster.get(&crd).await.unwrap()["spec"]["versions"].clone();
    versions[0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    cluster.edit(&crd, &json!({"spec": {"versions": versions}})).await;
    let patch = ["patch", "observabilitystack", "default", "--type=merge", "-p", r#"{"spec":{"security":"strict"}}"#];
    eventually("the schema permits anything", 20, async || std::thread::scope(|_| cluster.try_kubectl(&patch))).await;
    cluster.condition(STACK, "Accepted", "False", "InvalidSpec").await;
}

/// The API service outlives what has happened, and goes with its relay.
async fn stays_until_the_relay_fails(cluster: &TestCluster<'_>, node: &Mutex<Behaviour>) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.get(API_SERVICE).await.unwrap();
    node.lock().relay_ready = Some(false);
    is_gone(cluster, API_SERVICE, 30).await;
}

/// Ends the operator, deletes the unreadable stack, and installs everything anew.
async fn install_again(cluster: &mut TestCluster<'_>) {
    cluster.stop_operator().await;
    let released = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&["patch", "observabilitystack", "default", "--type=merge", "-p", released]);
    cluster.kubectl(&["delete", "observabilitystack", "default"]);
    cluster.install();
}

#[test]
fn api_service_goes_with_the_namespace_of_its_relay() {
    with_test_cluster(async |mut cluster| {
        cluster.namespace("shop").await;
        start(&mut cluster, 60).await;
        make_unreadable(&cluster).await;
        // A relay that serves stays, whatever the stack is.
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.get(API_SERVICE).await.unwrap();

        let own = format!("/api/v1/namespaces/{NAMESPACE}");
        cluster.delete(&own).await;
        is_gone(&cluster, API_SERVICE, 30).await;
        cluster.delete("/api/v1/namespaces/shop").await;
        is_gone(&cluster, "/api/v1/namespaces/shop", 60).await;
        is_gone(&cluster, &own, 60).await;
        install_again(&mut cluster).await;
    });
}

#[test]
fn api_service_of_an_unreadable_stack_goes_with_its_relay() {
    with_test_cluster(async |mut cluster| {
        let node = start(&mut cluster, 60).await;
        make_unreadable(&cluster).await;
        node.lock().relay_ready = Some(false);
        is_gone(&cluster, API_SERVICE, 30).await;
        install_again(&mut cluster).await;
    });
}

#[test]
fn api_service_goes_while_the_operator_has_no_rights() {
    with_test_cluster(async |mut cluster| {
        let node = start(&mut cluster, 60).await;
        // The phases fail at the first Service that is read.
        let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]);
        let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/trilobite-operator");
        cluster.edit(&role, &json!({"rules": rules})).await;
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        stays_until_the_relay_fails(&cluster, &node).await;
        cluster.install();
    });
}

#[test]
fn api_service_goes_while_the_operator_waits_for_crds() {
    with_test_cluster(async |mut cluster| {
        let node = start(&mut cluster, 60).await;
        // Not killed: its tasks would go on in this process.
        cluster.stop_operator().await;
        let crd = format!("{CRDS}/flowcaptures.trilobite.dev");
        cluster.delete(&crd).await;
        is_gone(&cluster, &crd, 30).await;
        cluster.start_operator();
        stays_until_the_relay_fails(&cluster, &node).await;
        cluster.install();
    });
}

#[test]
fn two_replicas_have_a_disruption_budget() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, 60).await;
        let budget = format!("/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/trilobite-relay");
        cluster.apply(&stack("{relay: {replicas: 2}}"));
        let first = eventually("it exists", 20, async || cluster.get(&budget).await).await;
        assert_eq!(first["spec"]["maxUnavailable"], 1);
        cluster.delete(&budget).await;
        eventually("it is made again", 20, async || match cluster.get(&budget).await {
            Ok(second) if second["metadata"]["uid"] != first["metadata"]["uid"] => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        cluster.apply(&stack("{relay: {replicas: 1}}"));
        is_gone(&cluster, &budget, 20).await;
    });
}
