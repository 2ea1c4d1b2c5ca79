//! Certificates by a real API server: who gets one, who is denied, and what the admission policy permits.

use k8s_openapi::api::{certificates::v1::CertificateSigningRequest, core::v1::Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use trilobite_certificates::{CertificateError, Request, issue};
use trilobite_crds::read_api::Signer;

use crate::{
    fake_agent::Behaviour,
    test_cluster::{NAMESPACE, STACK, TestCluster, eventually, stack, with_test_cluster},
};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A client with a token like the one that the kubelet gives to the first pod of these labels.
async fn as_pod(cluster: &TestCluster<'_>, name: &str) -> Client {
    let selector = format!("app.kubernetes.io/name={name}");
    let pod = eventually(&format!("a pod of {name} has a node"), 20, async || {
        let columns = "jsonpath={.items[0].metadata.name} {.items[0].spec.nodeName}";
        let pods = ["-n", NAMESPACE, "get", "pods", "-l", &selector, "--ignore-not-found", "-o", columns];
        let found = std::thread::scope(|_| cluster.try_kubectl(&pods))?;
        match found.split_once(' ') {
            Some((pod, node)) if !node.is_empty() => Ok(pod.to_owned()),
            _ => Err(found),
        }
    })
    .await;
    let bound = ["-n", NAMESPACE, "create", "token", name, "--bound-object-kind=Pod", "--bound-object-name", &pod];
    cluster.with_token(&cluster.kubectl(&bound)).await
}

/// One node with an agent and a relay, and a stack that is ready.
async fn start(cluster: &mut TestCluster<'_>, spec: &str) {
    cluster.node("reef-1", Behaviour { relay_ready: Some(false), ..Behaviour::default() }).await;
    let address = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.1.2.3"}]}});
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.patch_status("reef-1", &PatchParams::default(), &Patch::Merge(&address)).await.unwrap();
    cluster.start_operator();
    cluster.apply(&stack(spec));
    cluster.condition(STACK, "Ready", "True", "Ready").await;
}

fn denial(result: Result<trilobite_certificates::Certificate, CertificateError>) -> (String, String) {
    match result {
        Err(CertificateError::Denied { name, reason, .. }) => (name, reason),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was signed"),
    }
}

/// The first condition of this type of a request.
fn found<'a>(request: &'a Value, kind: &str) -> Option<&'a Value> {
    request["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[test]
fn agent_and_relay_get_their_own_certificates_and_no_others() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, "{}").await;
        let agent = as_pod(&cluster, "trilobite-node").await;
        let mut own = Request::new(Signer::NodeServing, "reef-1", NAMESPACE);
        own.ip_addresses = vec!["10.1.2.3".parse().unwrap()];
        issue(&agent, &own).await.unwrap();
        let relay = as_pod(&cluster, "trilobite-relay").await;
        for signer in [Signer::RelayClient, Signer::RelayServing] {
            issue(&relay, &Request::new(signer, "", NAMESPACE)).await.unwrap();
        }

        let other = Request::new(Signer::NodeServing, "reef-2", NAMESPACE);
        let (name, reason) = denial(issue(&agent, &other).await);
        assert_eq!(reason, "WrongNames");
        eventually("an Event says so", 10, async || {
            let events = std::thread::scope(|_| cluster.try_kubectl(&["get", "events.events.k8s.io", "-o", "yaml"]))?;
            if events.contains(&name) && events.contains("WrongNames") { Ok(()) } else { Err(events) }
        })
        .await;
        own.ip_addresses = vec!["10.1.2.4".parse().unwrap()];
        assert_eq!(denial(issue(&agent, &own).await).1, "WrongNames", "another node's address");
        // The administrator may create any request, and gets none of our certificates.
        let by_hand = Request::new(Signer::RelayClient, "", NAMESPACE);
        assert_eq!(denial(issue(&cluster.client, &by_hand).await).1, "WrongUser");
        // Nor does a token of the agents' account that is bound to no pod.
        let loose = cluster.kubectl(&["-n", NAMESPACE, "create", "token", "trilobite-node"]);
        let loose = cluster.with_token(&loose).await;
        assert_eq!(
            denial(issue(&loose, &Request::new(Signer::NodeServing, "reef-1", NAMESPACE)).await).1,
            "NotFromPod"
        );
    });
}

#[test]
fn agent_must_not_ask_another_signer() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, "{}").await;
        let agent = as_pod(&cluster, "trilobite-node").await;
        let refusal = eventually("the admission policy is active", 20, async || {
            match issue(&agent, &Request::new(Signer::RelayClient, "", NAMESPACE)).await {
                Err(CertificateError::Api { source, .. }) => Ok(source.to_string()),
                Err(CertificateError::Denied { .. }) => Err("the operator denied it".into()),
                other => Err(format!("{:?}", other.err())),
            }
        })
        .await;
        assert!(refusal.contains("must not ask signer trilobite.dev/relay-client"), "{refusal}");
        let requests: Api<CertificateSigningRequest> = Api::all(agent.clone());
        for signer in ["kubernetes.io/kube-apiserver-client", "kubernetes.io/kubelet-serving"] {
            let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
                "metadata": {"generateName": "stolen-"},
                "spec": {"signerName": signer, "request": request_pem(), "usages": ["client auth"]}});
            let request = serde_json::from_value(request).unwrap();
            let error = requests.create(&PostParams::default(), &request).await.unwrap_err().to_string();
            assert!(error.contains("must not ask signer"), "{error}");
        }
    });
}

/// Any request, as an object holds it.
fn request_pem() -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    json!(k8s_openapi::ByteString(request.into_bytes()))
}

#[test]
fn request_waits_until_a_relay_is_wanted() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, "{relay: {mode: Disabled}}").await;
        let agent = as_pod(&cluster, "trilobite-node").await;
        let waiting = {
            let agent = agent.clone();
            tokio::spawn(async move { issue(&agent, &Request::new(Signer::NodeServing, "reef-1", NAMESPACE)).await })
        };
        // One that was approved by hand, and that must not be signed.
        let forged = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "forged"}, "spec": {"signerName": "trilobite.dev/relay-client",
            "request": request_pem(), "usages": ["digital signature", "client auth"]}});
        cluster.apply(&forged.to_string());
        cluster.kubectl(&["certificate", "approve", "forged"]);
        let list = cluster.get(REQUESTS).await.unwrap();
        assert!(list["items"].as_array().unwrap().iter().all(|item| item["status"]["certificate"].is_null()));
        cluster.apply(&stack("{}"));
        waiting.await.unwrap().unwrap();
        eventually("the forged one has failed", 10, async || {
            let forged = cluster.get(&format!("{REQUESTS}/forged")).await?;
            match found(&forged, "Failed") {
                Some(failed) if failed["reason"] == "WrongUser" => Ok(()),
                _ => Err(forged["status"].to_string()),
            }
        })
        .await;
    });
}
