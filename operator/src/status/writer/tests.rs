//! The writer against a mock of the API server.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower_test::mock;
use trilobite_crds::{
    Reason,
    condition::{ConditionStatus, ConditionType, Finding, merge},
    node::SourceKind,
};

use super::{StatusWrite, StatusWriter};
use crate::{metrics::Metrics, resource_key::ResourceKey, status::user_status::UserStatus};

type Requests = mock::Handle<Request<Body>, Response<Body>>;

fn writer(interval: Duration) -> (mpsc::Sender<StatusWrite>, Requests, tokio::task::JoinHandle<()>) {
    let (service, requests) = mock::pair();
    let client = Client::new(service, "ink-system");
    let writer = StatusWriter::new(client, Arc::new(Metrics::new()), interval);
    let (writes, incoming) = mpsc::channel(8);
    (writes, requests, tokio::spawn(writer.write_until_closed(incoming)))
}

fn write_with(status: ConditionStatus, reason: Reason, message: &str) -> StatusWrite {
    let mut desired = UserStatus::default();
    let ready = Finding::new(ConditionType::Ready, status, reason, message);
    desired.common.conditions = merge(&[], &[ready], 3, jiff::Timestamp::UNIX_EPOCH);
    desired.common.observed_generation = 3;
    StatusWrite {
        key: ResourceKey {
            kind: SourceKind::TracingPolicyNamespaced,
            namespace: Some("payments".into()),
            name: "ink".into(),
        },
        uid: "uid-of-ink".into(),
        current: UserStatus::default(),
        desired,
    }
}

/// Method and path, and the body.
async fn next_request(requests: &mut Requests, status: StatusCode) -> (String, Value) {
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
async fn a_transition_is_a_status_patch_followed_by_an_event() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(write_with(ConditionStatus::True, Reason::Ready, "2 of 2 nodes ready")).await.unwrap();
    let (line, body) = next_request(&mut requests, StatusCode::OK).await;
    assert_eq!(line, STATUS);
    assert_eq!(body["metadata"], json!({"name": "ink", "uid": "uid-of-ink"}));
    assert_eq!(body["status"]["observedGeneration"], 3);
    assert_eq!(body["status"]["conditions"][0]["reason"], "Ready");
    assert!(body["spec"].is_null(), "the spec is the user's: {body}");
    let (line, event) = next_request(&mut requests, StatusCode::CREATED).await;
    assert_eq!(line, "POST /apis/events.k8s.io/v1/namespaces/payments/events");
    assert_eq!((&event["reason"], &event["note"]), (&json!("Ready"), &json!("2 of 2 nodes ready")));
}

#[tokio::test(start_paused = true)]
async fn only_the_last_of_many_count_changes_is_written() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(write_with(ConditionStatus::False, Reason::Progressing, "0 of 9")).await.unwrap();
    next_request(&mut requests, StatusCode::OK).await;
    for count in 1..9 {
        writes.send(write_with(ConditionStatus::False, Reason::Progressing, &format!("{count} of 9"))).await.unwrap();
    }
    let (line, body) = next_request(&mut requests, StatusCode::OK).await;
    assert_eq!(line, STATUS);
    assert_eq!(body["status"]["conditions"][0]["message"], "8 of 9");
}

#[tokio::test(start_paused = true)]
async fn a_status_edited_by_another_client_is_written_again() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    let desired = write_with(ConditionStatus::False, Reason::Progressing, "1 of 2");
    writes.send(desired.clone()).await.unwrap();
    next_request(&mut requests, StatusCode::OK).await;
    let edited = write_with(ConditionStatus::False, Reason::Progressing, "all is well").desired;
    let begin = tokio::time::Instant::now();
    writes.send(StatusWrite { current: edited, ..desired }).await.unwrap();
    let (line, body) = next_request(&mut requests, StatusCode::OK).await;
    assert_eq!((line.as_str(), &body["status"]["conditions"][0]["message"]), (STATUS, &json!("1 of 2")));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn fields_that_another_client_added_are_removed() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    let desired = write_with(ConditionStatus::False, Reason::Progressing, "1 of 2");
    writes.send(desired.clone()).await.unwrap();
    next_request(&mut requests, StatusCode::OK).await;
    let mut edited = desired.desired.clone();
    edited.common.summary = Some("all is well".into());
    writes.send(StatusWrite { current: edited, ..desired.clone() }).await.unwrap();
    // Server-side apply keeps the summary, because it is another manager's.
    let (request, answer) = requests.next_request().await.expect("a request");
    let mut stored: Value = serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
    stored["status"]["summary"] = json!("all is well");
    answer.send_response(Response::new(Body::from(stored.to_string().into_bytes())));
    let (line, operations) = next_request(&mut requests, StatusCode::INTERNAL_SERVER_ERROR).await;
    assert_eq!(line, STATUS);
    assert_eq!(operations[0], json!({"op": "test", "path": "/metadata/uid", "value": "uid-of-ink"}));
    assert_eq!(operations[1], json!({"op": "replace", "path": "/status", "value": json!(desired.desired)}));
}

fn silent(message: &str, before: &UserStatus) -> StatusWrite {
    let mut write = write_with(ConditionStatus::False, Reason::Progressing, "");
    let degraded = Finding::new(ConditionType::Degraded, ConditionStatus::True, Reason::AgentSilent, message);
    write.desired.common.conditions = merge(&[], &[degraded], 3, jiff::Timestamp::UNIX_EPOCH);
    StatusWrite { current: before.clone(), ..write }
}

const EVENTS: &str = "POST /apis/events.k8s.io/v1/namespaces/payments/events";

#[tokio::test(start_paused = true)]
async fn a_new_note_is_a_new_event_and_not_a_series() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(silent("ImagePullBackOff", &UserStatus::default())).await.unwrap();
    assert_eq!(next_request(&mut requests, StatusCode::OK).await.0, STATUS);
    assert_eq!(next_request(&mut requests, StatusCode::CREATED).await.0, EVENTS);
    writes.send(silent("CrashLoopBackOff", &UserStatus::default())).await.unwrap();
    assert_eq!(next_request(&mut requests, StatusCode::OK).await.0, STATUS);
    // Due only a while after the first one, when nothing is written any more.
    let (line, event) = next_request(&mut requests, StatusCode::CREATED).await;
    assert_eq!((line.as_str(), &event["note"]), (EVENTS, &json!("CrashLoopBackOff")));
    assert!(event["series"].is_null(), "{event}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_patch_is_retried() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(write_with(ConditionStatus::False, Reason::Progressing, "")).await.unwrap();
    next_request(&mut requests, StatusCode::INTERNAL_SERVER_ERROR).await;
    assert_eq!(next_request(&mut requests, StatusCode::OK).await.0, STATUS);
}

#[tokio::test(start_paused = true)]
async fn continuous_changes_do_not_postpone_a_write_forever() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    let changes = tokio::spawn(async move {
        for count in 0.. {
            let change = write_with(ConditionStatus::False, Reason::Progressing, &format!("{count} of 9"));
            if writes.send(change).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let written = tokio::time::timeout(Duration::from_secs(1), next_request(&mut requests, StatusCode::OK)).await;
    assert_eq!(written.expect("it is written during the changes").0, STATUS);
    changes.abort();
}

#[tokio::test(start_paused = true)]
async fn a_new_change_does_not_shorten_the_retry_delay() {
    let (writes, mut requests, _writer) = writer(Duration::from_secs(5));
    writes.send(write_with(ConditionStatus::False, Reason::Progressing, "")).await.unwrap();
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        next_request(&mut requests, StatusCode::INTERNAL_SERVER_ERROR).await;
        writes.send(write_with(ConditionStatus::True, Reason::Ready, "news")).await.unwrap();
    }
    next_request(&mut requests, StatusCode::OK).await;
    // One, two and four seconds.
    assert!(begin.elapsed() >= Duration::from_secs(7), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_forgotten() {
    let (writes, mut requests, writer) = writer(Duration::from_secs(5));
    writes.send(write_with(ConditionStatus::False, Reason::Progressing, "")).await.unwrap();
    next_request(&mut requests, StatusCode::NOT_FOUND).await;
    drop(writes);
    writer.await.unwrap();
    assert!(requests.next_request().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn pending_writes_are_sent_before_the_end() {
    let (writes, mut requests, writer) = writer(Duration::from_secs(3600));
    writes.send(write_with(ConditionStatus::False, Reason::Progressing, "1 of 2")).await.unwrap();
    next_request(&mut requests, StatusCode::OK).await;
    writes.send(write_with(ConditionStatus::False, Reason::Progressing, "2 of 2")).await.unwrap();
    drop(writes);
    assert_eq!(next_request(&mut requests, StatusCode::OK).await.1["status"]["conditions"][0]["message"], "2 of 2");
    writer.await.unwrap();
}
