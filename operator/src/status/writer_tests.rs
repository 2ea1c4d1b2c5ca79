//! The writer against an API server that only listens.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use kube::{Client, client::Body, runtime::events::Recorder};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower_test::mock;
use trilobite_crds::{
    Reason,
    condition::{ConditionStatus, ConditionType, Finding, merge},
    node::SourceKind,
};

use super::{
    Key, Written,
    writer::{Write, Writer, reporter},
};
use crate::metrics::Metrics;

type Requests = mock::Handle<Request<Body>, Response<Body>>;

fn writer(interval: Duration) -> (mpsc::Sender<Write>, Requests, tokio::task::JoinHandle<()>) {
    let (service, requests) = mock::pair();
    let client = Client::new(service, "ink-system");
    let writer = Writer::new(client.clone(), Recorder::new(client, reporter()), Arc::new(Metrics::new()), interval);
    let (writes, incoming) = mpsc::channel(8);
    (writes, requests, tokio::spawn(writer.run(incoming)))
}

fn saying(status: ConditionStatus, reason: Reason, message: &str) -> Write {
    let mut wanted = Written::default();
    let ready = Finding::new(ConditionType::Ready, status, reason, message);
    wanted.common.conditions = merge(&[], &[ready], 3, jiff::Timestamp::UNIX_EPOCH);
    wanted.common.observed_generation = 3;
    Write {
        key: Key { kind: SourceKind::TracingPolicyNamespaced, namespace: Some("payments".into()), name: "ink".into() },
        uid: "uid-of-ink".into(),
        standing: Written::default(),
        wanted,
    }
}

/// Method and path, and the body.
async fn next(requests: &mut Requests, status: StatusCode) -> (String, Value) {
    let (request, answer) = requests.next_request().await.expect("a request");
    let line = format!("{} {}", request.method(), request.uri().path());
    let bytes = request.into_body().collect_bytes().await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let said = if status.is_success() {
        body.clone()
    } else {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "x", "message": "x", "code": status.as_u16()})
    };
    answer.send_response(Response::builder().status(status).body(Body::from(said.to_string().into_bytes())).unwrap());
    (line, body)
}

const STATUS: &str = "PATCH /apis/trilobite.dev/v1alpha1/namespaces/payments/tracingpoliciesnamespaced/ink/status";

#[tokio::test(start_paused = true)]
async fn a_transition_is_a_patch_of_the_status_and_then_an_event() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(saying(ConditionStatus::True, Reason::Ready, "2 of 2 nodes ready")).await.unwrap();
    let (line, body) = next(&mut requests, StatusCode::OK).await;
    assert_eq!(line, STATUS);
    assert_eq!(body["metadata"], json!({"name": "ink", "uid": "uid-of-ink"}));
    assert_eq!(body["status"]["observedGeneration"], 3);
    assert_eq!(body["status"]["conditions"][0]["reason"], "Ready");
    assert!(body["spec"].is_null(), "what people wrote is not ours: {body}");
    let (line, event) = next(&mut requests, StatusCode::CREATED).await;
    assert_eq!(line, "POST /apis/events.k8s.io/v1/namespaces/payments/events");
    assert_eq!((&event["reason"], &event["note"]), (&json!("Ready"), &json!("2 of 2 nodes ready")));
}

#[tokio::test(start_paused = true)]
async fn of_many_changes_of_a_count_the_last_is_written_and_only_it() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(saying(ConditionStatus::False, Reason::Progressing, "0 of 9")).await.unwrap();
    next(&mut requests, StatusCode::OK).await;
    for count in 1..9 {
        writes.send(saying(ConditionStatus::False, Reason::Progressing, &format!("{count} of 9"))).await.unwrap();
    }
    let (line, body) = next(&mut requests, StatusCode::OK).await;
    assert_eq!(line, STATUS);
    assert_eq!(body["status"]["conditions"][0]["message"], "8 of 9");
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_fails_is_tried_again() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(saying(ConditionStatus::False, Reason::Progressing, "")).await.unwrap();
    next(&mut requests, StatusCode::INTERNAL_SERVER_ERROR).await;
    assert_eq!(next(&mut requests, StatusCode::OK).await.0, STATUS);
}

#[tokio::test(start_paused = true)]
async fn changes_that_never_pause_do_not_keep_a_status_from_being_written() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    let changes = tokio::spawn(async move {
        for count in 0.. {
            let change = saying(ConditionStatus::False, Reason::Progressing, &format!("{count} of 9"));
            if writes.send(change).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let written = tokio::time::timeout(Duration::from_secs(1), next(&mut requests, StatusCode::OK)).await;
    assert_eq!(written.expect("it is written meanwhile").0, STATUS);
    changes.abort();
}

#[tokio::test(start_paused = true)]
async fn news_does_not_shorten_the_wait_after_a_patch_that_failed() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(saying(ConditionStatus::False, Reason::Progressing, "")).await.unwrap();
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        next(&mut requests, StatusCode::INTERNAL_SERVER_ERROR).await;
        writes.send(saying(ConditionStatus::True, Reason::Ready, "news")).await.unwrap();
    }
    next(&mut requests, StatusCode::OK).await;
    // One, two and four seconds.
    assert!(begin.elapsed() >= Duration::from_secs(7), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_forgotten() {
    let (writes, mut requests, writer) = writer(Duration::from_secs(5));
    writes.send(saying(ConditionStatus::False, Reason::Progressing, "")).await.unwrap();
    next(&mut requests, StatusCode::NOT_FOUND).await;
    drop(writes);
    writer.await.unwrap();
    assert!(requests.next_request().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_written_before_the_end() {
    let (writes, mut requests, writer) = writer(Duration::from_secs(3600));
    writes.send(saying(ConditionStatus::False, Reason::Progressing, "1 of 2")).await.unwrap();
    next(&mut requests, StatusCode::OK).await;
    writes.send(saying(ConditionStatus::False, Reason::Progressing, "2 of 2")).await.unwrap();
    drop(writes);
    assert_eq!(next(&mut requests, StatusCode::OK).await.1["status"]["conditions"][0]["message"], "2 of 2");
    writer.await.unwrap();
}
