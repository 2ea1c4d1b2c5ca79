//! `apply` against a mock of the API server: which requests are sent, with which bodies.

use http::{Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{
    Client,
    client::Body,
    runtime::events::{Recorder, Reporter},
};
use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair};
use serde_json::{Value, json};
use tower_test::mock;
use trilobite_crds::read_api::Signer;

use super::{
    apply::{is_decided, refuse, sign},
    refusal::Refusal,
};
use crate::certificate_authority::{LeafRequest, rotate};

/// Answers every request with the stored request in version 8, or with `code`. Returns path and body of each.
async fn serve_requests(
    mut requests: mock::Handle<Request<Body>, Response<Body>>,
    code: StatusCode,
) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    while let Some((request, answer)) = requests.next_request().await {
        let path = format!("{} {}", request.method(), request.uri().path());
        let sent = request.into_body().collect_bytes().await.unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        let body = match code {
            StatusCode::OK if path.contains("/events") => sent.clone(),
            StatusCode::OK => {
                let mut stored = json!(stored(&[]));
                stored["metadata"]["resourceVersion"] = "8".into();
                stored
            }
            _ => {
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "code": code.as_u16()})
            }
        };
        seen.push((path, sent));
        answer.send_response(Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap());
    }
    seen
}

fn mock_server(code: StatusCode) -> (Client, tokio::task::JoinHandle<Vec<(String, Value)>>) {
    let (service, requests) = mock::pair();
    (Client::new(service, "ink-system"), tokio::spawn(serve_requests(requests, code)))
}

fn stored(conditions: &[&str]) -> CertificateSigningRequest {
    let conditions: Vec<_> =
        conditions.iter().map(|kind| json!({"type": kind, "status": "True", "reason": "ByHand"})).collect();
    serde_json::from_value(json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "request-1", "uid": "uid-of-request-1", "resourceVersion": "7"},
        "spec": {"signerName": "trilobite.dev/node-serving", "request": ""}, "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn leaf() -> LeafRequest {
    let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    LeafRequest {
        signer: Signer::NodeServing,
        public_key: CertificateSigningRequestParams::from_der(request.der()).unwrap().public_key,
        dns_names: vec!["reef-1".into()],
        life: SignedDuration::from_hours(24),
        uid: "uid-of-request-1".into(),
    }
}

const PATH: &str = "PATCH /apis/certificates.k8s.io/v1/certificatesigningrequests/request-1";

async fn sent_by_sign(request: &CertificateSigningRequest, code: StatusCode) -> Vec<(String, Value)> {
    let (client, seen) = mock_server(code);
    let authority = rotate(None, Timestamp::now()).unwrap().unwrap();
    sign(&client, request, leaf(), authority.current()).await.unwrap();
    drop(client);
    seen.await.unwrap()
}

async fn sent_by_refuse(request: &CertificateSigningRequest, code: StatusCode) -> Vec<(String, Value)> {
    let (client, seen) = mock_server(code);
    let recorder = Recorder::new(client.clone(), Reporter::from("ink-operator"));
    let refusal = Refusal::PodNotFound { pod: "pod-1".into() };
    refuse(&client, &recorder, request, &refusal).await.unwrap();
    drop((client, recorder));
    seen.await.unwrap()
}

#[tokio::test]
async fn request_is_approved_before_it_gets_its_certificate() {
    let sent = sent_by_sign(&stored(&[]), StatusCode::OK).await;
    let [(approval, approved), (status, certificate)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((approval, status), (&format!("{PATH}/approval"), &format!("{PATH}/status")));
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["metadata"]["resourceVersion"], "7", "what was checked");
    assert_eq!(certificate["metadata"]["resourceVersion"], "8", "what was approved");
    assert!(certificate["status"]["certificate"].as_str().unwrap().starts_with("LS0tLS1CRUdJTiB"));
}

#[tokio::test]
async fn approved_request_of_an_operator_that_was_killed_is_signed() {
    let sent = sent_by_sign(&stored(&["Approved"]), StatusCode::OK).await;
    let [(status, certificate)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(status, &format!("{PATH}/status"));
    assert_eq!(certificate["metadata"]["resourceVersion"], "7");
}

#[tokio::test]
async fn refused_request_is_denied_with_an_event() {
    let sent = sent_by_refuse(&stored(&[]), StatusCode::OK).await;
    let [(approval, denied), (_, event)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(approval, &format!("{PATH}/approval"));
    let condition = &denied["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("Denied"), &json!("PodNotFound")));
    assert_eq!((&event["reason"], &event["type"]), (&json!("PodNotFound"), &json!("Warning")));
    assert_eq!(event["note"], condition["message"]);
}

#[tokio::test]
async fn request_that_was_approved_by_hand_fails() {
    let sent = sent_by_refuse(&stored(&["Approved"]), StatusCode::OK).await;
    assert_eq!(sent[0].0, format!("{PATH}/status"));
    let kinds: Vec<_> =
        sent[0].1["status"]["conditions"].as_array().unwrap().iter().map(|one| one["type"].clone()).collect();
    assert_eq!(kinds, ["Approved", "Failed"], "the API server permits no condition to be removed");
}

#[tokio::test]
async fn request_that_changed_meanwhile_is_left_to_its_next_event() {
    assert_eq!(sent_by_sign(&stored(&[]), StatusCode::CONFLICT).await.len(), 1);
    assert_eq!(sent_by_refuse(&stored(&[]), StatusCode::CONFLICT).await.len(), 1, "no Event either");
}

#[test]
fn request_is_decided_once() {
    assert!(!is_decided(&stored(&[])) && !is_decided(&stored(&["Approved"])));
    assert!(is_decided(&stored(&["Denied"])) && is_decided(&stored(&["Approved", "Failed"])));
    let mut signed = stored(&["Approved"]);
    signed.status.as_mut().unwrap().certificate = Some(k8s_openapi::ByteString(b"pem".to_vec()));
    assert!(is_decided(&signed));
}
