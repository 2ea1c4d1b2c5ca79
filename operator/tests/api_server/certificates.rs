//! Certificates by a real API server: who gets one, who is denied, and what the admission policy permits.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
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
        issue(&agent, &Request::new(Signer::NodeServing, "reef-1", NAMESPACE)).await.unwrap();
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
        // A token of the agents' account that is bound to no pod gets none either.
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
            let error = requests.create(&PostParams::default(), &object(signer, 0)).await.unwrap_err().to_string();
            assert!(error.contains("must not ask signer"), "{error}");
        }
    });
}

/// Any request with so many names.
fn object(signer: &str, names: usize) -> CertificateSigningRequest {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> =
        (0..names).map(|number| format!("reef-{number}.trilobite-node.trilobite-system.svc")).collect();
    let params = rcgen::CertificateParams::new(names).unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "by-hand-"},
        "spec": {"signerName": signer, "request": k8s_openapi::ByteString(pem.into_bytes()),
            "usages": ["digital signature", "client auth"]}});
    serde_json::from_value(request).unwrap()
}

#[test]
fn requests_to_our_signers_are_small_and_ours() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, "{}").await;
        let ask = async |client: &Client, signer: &str, names| {
            let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
            requests.create(&PostParams::default(), &object(signer, names)).await.map_err(|error| error.to_string())
        };
        for signer in Signer::ALL {
            let refusal = eventually("the admission policy is active", 20, async || {
                ask(&cluster.client, signer.name(), 0).await.map_or_else(Ok, |_| Err("it was created".to_owned()))
            })
            .await;
            assert!(refusal.contains(&format!("must not ask signer {}", signer.name())), "{refusal}");
        }
        // Those of others are none of ours.
        ask(&cluster.client, "reef.example/ink", 400).await.unwrap();
        let agent = as_pod(&cluster, "trilobite-node").await;
        let refusal = ask(&agent, Signer::NodeServing.name(), 400).await.unwrap_err();
        assert!(refusal.contains("at most 8192 bytes"), "{refusal}");
        ask(&agent, Signer::NodeServing.name(), 8).await.unwrap();
    });
}

#[test]
fn agents_and_relay_read_no_requests_but_by_name() {
    with_test_cluster(async |mut cluster| {
        start(&mut cluster, "{}").await;
        for name in ["trilobite-node", "trilobite-relay"] {
            let pod = as_pod(&cluster, name).await;
            let requests: Api<CertificateSigningRequest> = Api::all(pod);
            let refusal = requests.list(&ListParams::default()).await.unwrap_err().to_string();
            assert!(refusal.contains("forbidden"), "{refusal}");
        }
    });
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
        let loose = cluster.kubectl(&["-n", NAMESPACE, "create", "token", "trilobite-relay"]);
        let requests: Api<CertificateSigningRequest> = Api::all(cluster.with_token(&loose).await);
        let forged = requests.create(&PostParams::default(), &object(Signer::RelayClient.name(), 1)).await.unwrap();
        let forged = forged.metadata.name.unwrap();
        cluster.kubectl(&["certificate", "approve", &forged]);
        let list = cluster.get(REQUESTS).await.unwrap();
        assert!(list["items"].as_array().unwrap().iter().all(|item| item["status"]["certificate"].is_null()));
        cluster.apply(&stack("{}"));
        waiting.await.unwrap().unwrap();
        eventually("the forged one has failed", 10, async || {
            let forged = cluster.get(&format!("{REQUESTS}/{forged}")).await?;
            match found(&forged, "Failed") {
                Some(failed) if failed["reason"] == "NotFromPod" => Ok(()),
                _ => Err(forged["status"].to_string()),
            }
        })
        .await;
    });
}
