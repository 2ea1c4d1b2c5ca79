//! A certificate asked for from an API server whose signer answers late, or refuses.

#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, sync::Arc};

use base64_of_pem::{decode, encode};
use http::{Method, Request as HttpRequest, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::service_fn;
use trilobite_certificates::{CertificateState, Request, issue, keep_valid};
use trilobite_crds::read_api::Signer;

/// `status` of a request that was read for the so-many-th time.
type Answer = fn(&Signing, &str, usize) -> Value;

struct Signing {
    issuer: Issuer<'static, KeyPair>,
    requests: Mutex<Vec<Value>>,
    reads: Mutex<usize>,
    answer: Answer,
}

fn api_server(answer: Answer) -> (kube::Client, Arc<Signing>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let signing = Arc::new(Signing { issuer, requests: Mutex::default(), reads: Mutex::default(), answer });
    let shared = Arc::clone(&signing);
    let service = service_fn(move |request: HttpRequest<Body>| {
        let signing = Arc::clone(&shared);
        async move {
            let is_create = request.method() == Method::POST;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let object = if is_create {
                let mut object: Value = serde_json::from_slice(&body).unwrap();
                object["metadata"]["name"] = json!("trilobite-relay-x7k2f");
                signing.requests.lock().push(object.clone());
                object
            } else {
                *signing.reads.lock() += 1;
                let mut object = signing.requests.lock().last().unwrap().clone();
                let pem = decode(object["spec"]["request"].as_str().unwrap());
                object["status"] = (signing.answer)(&signing, &pem, *signing.reads.lock());
                object
            };
            Ok::<_, Infallible>(Response::new(Body::from(object.to_string().into_bytes())))
        }
    });
    (kube::Client::new(service, "reef"), signing)
}

fn signed(signing: &Signing, pem: &str) -> Value {
    let request = CertificateSigningRequestParams::from_pem(pem).unwrap();
    json!({"certificate": encode(&request.signed_by(&signing.issuer).unwrap().pem())})
}

fn relay() -> Request {
    Request::new(Signer::RelayClient, "", "reef")
}

#[tokio::test(start_paused = true)]
async fn certificate_is_waited_for_and_belongs_to_its_key() {
    let (client, signing) = api_server(|signing, pem, reads| if reads < 4 { json!({}) } else { signed(signing, pem) });
    let certificate = issue(&client, &relay()).await.unwrap();
    assert_eq!(certificate.chain.len(), 1);
    let key = KeyPair::try_from(certificate.private_key().secret_der()).unwrap();
    let public = key.public_key_raw();
    assert!(certificate.chain[0].windows(public.len()).any(|part| part == public), "the key is another's");
    assert_eq!((signing.requests.lock().len(), *signing.reads.lock()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn refusal_names_the_request_and_its_reason() {
    let (client, _) = api_server(
        |_, _, _| json!({"conditions": [{"type": "Denied", "status": "True", "reason": "WrongNode", "message": "not there"}]}),
    );
    let error = issue(&client, &relay()).await.unwrap_err().to_string();
    assert_eq!(error, "certificate request trilobite-relay-x7k2f was denied: WrongNode: not there");
}

#[tokio::test(start_paused = true)]
async fn request_that_nobody_signs_is_given_up() {
    let (client, signing) = api_server(|_, _, _| json!({}));
    let error = issue(&client, &relay()).await.unwrap_err().to_string();
    assert!(error.contains("was not signed within 60 s"), "{error}");
    assert_eq!(signing.requests.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failed_request_is_repeated_and_the_problem_ends() {
    let (client, signing) = api_server(|signing, pem, reads| match reads {
        1 => json!({"conditions": [{"type": "Failed", "status": "True", "reason": "NoCa"}]}),
        _ => signed(signing, pem),
    });
    let (sender, mut state) = watch::channel(CertificateState::default());
    let keeping = tokio::spawn(async move { match keep_valid(client, relay(), sender).await {} });
    state.changed().await.unwrap();
    let first = state.borrow_and_update().clone();
    assert!(first.certificate.is_none() && first.problem.unwrap().contains("NoCa"));
    state.changed().await.unwrap();
    let second = state.borrow_and_update().clone();
    assert!(second.certificate.is_some() && second.problem.is_none());
    assert_eq!(signing.requests.lock().len(), 2, "each request has a key of its own");
    keeping.abort();
}

/// Bytes in JSON are base64.
mod base64_of_pem {
    use k8s_openapi::ByteString;

    pub(crate) fn decode(text: &str) -> String {
        let bytes: ByteString = serde_json::from_value(text.into()).unwrap();
        String::from_utf8(bytes.0).unwrap()
    }

    pub(crate) fn encode(pem: &str) -> String {
        let text = serde_json::to_value(ByteString(pem.as_bytes().to_vec())).unwrap();
        text.as_str().unwrap().to_owned()
    }
}
