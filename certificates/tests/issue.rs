//! A certificate asked for from an API server whose signer answers late, or refuses.

#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use base64_of_pem::{decode, encode};
use http::{Method, Request as HttpRequest, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};
use tower::service_fn;
use trilobite_certificates::{CertificateState, Request, issue, keep_valid};
use trilobite_crds::read_api::Signer;

/// `status` of a request that was read for the so-many-th time.
type Answer = fn(&Signing, &str, usize) -> Value;

struct Signing {
    issuer: Issuer<'static, KeyPair>,
    /// All that were created.
    requests: Mutex<Vec<Value>>,
    reads: Mutex<usize>,
    answer: Answer,
    /// Of the next creation the sender hears nothing, although it is stored.
    loses_answer: AtomicBool,
}

impl Signing {
    fn create(&self, object: Value) -> (u16, Value) {
        let mut requests = self.requests.lock();
        if requests.iter().any(|one| one["metadata"]["name"] == object["metadata"]["name"]) {
            return (409, failure(409));
        }
        requests.push(object.clone());
        if self.loses_answer.swap(false, Relaxed) { (504, failure(504)) } else { (201, object) }
    }

    /// A status that is null stands for a request that is gone.
    fn get(&self, path: &str) -> (u16, Value) {
        *self.reads.lock() += 1;
        let found = self.requests.lock().iter().find(|one| path.ends_with(name_in(one))).cloned();
        let mut object = found.expect("only what was created is read");
        let pem = decode(object["spec"]["request"].as_str().unwrap());
        object["status"] = (self.answer)(self, &pem, *self.reads.lock());
        if object["status"].is_null() { (404, failure(404)) } else { (200, object) }
    }

    fn created(&self) -> usize {
        self.requests.lock().len()
    }
}

fn name_in(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn failure(code: u16) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Test" };
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "refused"})
}

fn api_server(answer: Answer) -> (kube::Client, Arc<Signing>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let (requests, reads, loses_answer) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
    let signing = Arc::new(Signing { issuer, requests, reads, answer, loses_answer });
    let shared = Arc::clone(&signing);
    let service = service_fn(move |request: HttpRequest<Body>| {
        let signing = Arc::clone(&shared);
        async move {
            let (path, method) = (request.uri().path().to_owned(), request.method().clone());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (code, object) = match method {
                Method::POST => signing.create(serde_json::from_slice(&body).unwrap()),
                _ => signing.get(&path),
            };
            let response = Response::builder().status(code).body(Body::from(object.to_string().into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
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
    assert_eq!((signing.created(), *signing.reads.lock()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn refusal_names_the_request_and_its_reason() {
    let (client, signing) = api_server(
        |_, _, _| json!({"conditions": [{"type": "Denied", "status": "True", "reason": "WrongNode", "message": "not there"}]}),
    );
    let error = issue(&client, &relay()).await.unwrap_err().to_string();
    let name = name_in(&signing.requests.lock()[0]).to_owned();
    assert_eq!(error, format!("certificate request {name} was denied: WrongNode: not there"));
}

#[tokio::test(start_paused = true)]
async fn request_that_is_not_signed_is_given_up() {
    let (client, signing) = api_server(|_, _, _| json!({}));
    let error = issue(&client, &relay()).await.unwrap_err().to_string();
    assert!(error.contains("was not signed within 60 s"), "{error}");
    assert_eq!(signing.created(), 1);
}

/// The first state with a certificate, and whether there was a problem before.
async fn first_certificate(client: kube::Client) -> (CertificateState, Option<String>) {
    let (sender, mut state) = watch::channel(CertificateState::default());
    let keeping = tokio::spawn(async move { match keep_valid(client, relay(), sender).await {} });
    let mut problem = None;
    let last = loop {
        state.changed().await.unwrap();
        let now = state.borrow_and_update().clone();
        if now.certificate.is_some() {
            break now;
        }
        problem = now.problem.or(problem);
    };
    keeping.abort();
    (last, problem)
}

#[tokio::test(start_paused = true)]
async fn one_request_waits_for_hours_without_an_operator() {
    let (client, signing) =
        api_server(|signing, pem, reads| if reads < 600 { json!({}) } else { signed(signing, pem) });
    let start = Instant::now();
    let (state, problem) = first_certificate(client).await;
    assert!(problem.unwrap().contains("was not signed within 60 s"));
    assert_eq!((signing.created(), state.problem), (1, None));
    // Seldom: a thousand agents may wait together.
    assert!(start.elapsed().as_secs() > 2 * 3600, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn request_whose_creation_was_not_answered_is_made_once() {
    let (client, signing) = api_server(|signing, pem, _| signed(signing, pem));
    signing.loses_answer.store(true, Relaxed);
    let (_, problem) = first_certificate(client).await;
    assert!(problem.unwrap().starts_with("cannot create"));
    assert_eq!(signing.created(), 1);
}

#[tokio::test(start_paused = true)]
async fn request_that_was_deleted_is_made_anew() {
    let (client, signing) = api_server(|signing, pem, reads| match reads {
        1 => json!({}),
        2 => Value::Null,
        _ => signed(signing, pem),
    });
    let (_, problem) = first_certificate(client).await;
    assert!(problem.unwrap().ends_with("was deleted before it was signed"));
    assert_eq!(signing.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn denied_requests_become_rare() {
    let (client, signing) =
        api_server(|_, _, _| json!({"conditions": [{"type": "Denied", "status": "True", "reason": "WrongNode"}]}));
    let (sender, _state) = watch::channel(CertificateState::default());
    let keeping = tokio::spawn(async move { match keep_valid(client, relay(), sender).await {} });
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    keeping.abort();
    // Kubernetes deletes a denied one after an hour, so that a dozen exist at a time.
    assert!(signing.created() < 24 * 13, "{}", signing.created());
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
    assert_eq!(signing.created(), 2, "each request has a key of its own");
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
