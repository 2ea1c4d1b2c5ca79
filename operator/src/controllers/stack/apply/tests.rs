//! `apply` against a mock of the API server: which requests are sent, in which order.

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::json;
use tower_test::mock;

use super::{RejectedObject, apply};
use crate::controllers::stack::fixtures::{build_objects, nodes, roll_out};

/// Responds to every request, with `code` if the path contains `denied`. Returns method and path of each request.
async fn serve_requests(
    mut requests: mock::Handle<Request<Body>, Response<Body>>,
    denied: &str,
    code: StatusCode,
) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some((request, answer)) = requests.next_request().await {
        let path = request.uri().path().to_owned();
        seen.push(format!("{} {path}", request.method()));
        if request.method() == Method::PATCH {
            let query = request.uri().query().unwrap_or_default();
            assert!(query.contains("force=true") && query.contains("fieldManager=trilobite-operator"), "{query}");
        }
        let (status, body) = if path.contains(denied) {
            let why = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "x", "message": "no", "code": code.as_u16()});
            (code, why.to_string().into_bytes())
        } else if request.method() == Method::DELETE {
            (
                StatusCode::OK,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200})
                    .to_string()
                    .into_bytes(),
            )
        } else {
            (StatusCode::OK, request.into_body().collect_bytes().await.unwrap().to_vec())
        };
        answer.send_response(Response::builder().status(status).body(Body::from(body)).unwrap());
    }
    seen
}

fn mock_server(denied: &'static str, code: StatusCode) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let (service, requests) = mock::pair();
    (Client::new(service, "ink-system"), tokio::spawn(serve_requests(requests, denied, code)))
}

#[tokio::test]
async fn parts_are_applied_before_the_profile_and_the_profile_before_nodes() {
    let (client, seen) = mock_server("nothing is denied", StatusCode::OK);
    apply(build_objects("{security: {mode: Enabled}}", &nodes(2)), &client).await.unwrap();
    drop(client);
    let kinds: Vec<String> = seen
        .await
        .unwrap()
        .iter()
        .map(|line| line.replace("/apis/trilobite.dev/v1alpha1/", "").rsplit_once('/').unwrap().0.to_owned())
        .collect();
    assert_eq!(
        kinds,
        [
            "PATCH profileparts",
            "PATCH profileparts",
            "PATCH nodeprofiles",
            "PATCH /api/v1/namespaces/ink-system/configmaps",
            "PATCH /apis/apps/v1/namespaces/ink-system/daemonsets",
            "PATCH noderuntimes",
            "PATCH noderuntimes",
            "PATCH /api/v1/namespaces/ink-system/secrets",
            "PATCH /api/v1/namespaces/ink-system/configmaps",
            "PATCH /api/v1/namespaces/ink-system/services",
            "PATCH /api/v1/namespaces/ink-system/services",
            "PATCH /apis/apps/v1/namespaces/ink-system/deployments",
        ]
    );
}

#[tokio::test]
async fn a_denied_profile_is_named_and_no_node_is_pointed_at_it() {
    let (client, seen) = mock_server("/nodeprofiles/", StatusCode::FORBIDDEN);
    let error = apply(build_objects("{}", &nodes(1)), &client).await.unwrap_err();
    assert!(error.to_string().starts_with("applying NodeProfile default-default-"), "{error}");
    drop(client);
    assert!(seen.await.unwrap().iter().all(|line| !line.contains("noderuntimes")));
}

#[tokio::test(start_paused = true)]
async fn an_unselected_node_unloads_before_its_pod_is_deleted() {
    let mut cluster = nodes(2);
    roll_out(&mut cluster, "{}");
    cluster.nodes.pop();
    let (client, seen) = mock_server("nothing is denied", StatusCode::OK);
    apply(build_objects("{}", &cluster), &client).await.unwrap();
    drop(client);
    let seen = seen.await.unwrap();
    let position = |what: &str| seen.iter().position(|line| line.contains(what)).unwrap();
    assert!(position("DELETE /apis/trilobite.dev/v1alpha1/noderuntimes/reef-001") < position("daemonsets"), "{seen:?}");
}

#[tokio::test]
async fn a_rejected_daemon_set_does_not_block_policies_on_running_agents() {
    let (client, seen) = mock_server("/daemonsets/", StatusCode::UNPROCESSABLE_ENTITY);
    let (_, rejected) = apply(build_objects("{}", &nodes(1)), &client).await.unwrap();
    assert_eq!(rejected, [RejectedObject { field: "spec.runtime", kind: "DaemonSet".into(), why: "no".into() }]);
    drop(client);
    assert!(seen.await.unwrap().iter().any(|line| line.contains("noderuntimes/reef-000")));
}

/// A relay with an available replica, whose APIService exists.
fn with_registered_relay() -> crate::controllers::stack::dereference::DereferencedStack {
    let mut cluster = nodes(1);
    let named = |name: &str| json!({"metadata": {"name": name}, "status": {"availableReplicas": 1}});
    cluster.relay.deployment = serde_json::from_value(named("trilobite-relay")).unwrap();
    cluster.relay.api_service = serde_json::from_value(named("v1alpha1.read.trilobite.dev")).unwrap();
    (cluster.relay.has_service, cluster.relay.has_hubble_service) = (true, true);
    cluster
}

#[tokio::test]
async fn api_service_is_the_last_to_come_and_the_first_to_go() {
    let (client, seen) = mock_server("nothing is denied", StatusCode::OK);
    apply(build_objects("{}", &with_registered_relay()), &client).await.unwrap();
    drop(client);
    let api_service = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.read.trilobite.dev";
    assert_eq!(seen.await.unwrap().last().unwrap(), &format!("PATCH {api_service}"));

    let (client, seen) = mock_server("nothing is denied", StatusCode::OK);
    apply(build_objects("{suspend: true}", &with_registered_relay()), &client).await.unwrap();
    drop(client);
    let seen = seen.await.unwrap();
    assert_eq!(seen[0], format!("DELETE {api_service}"));
    let deleted: Vec<_> = seen.iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(deleted.len(), 4, "Deployment and both Services too: {seen:?}");
}

#[tokio::test]
async fn a_rejected_relay_is_about_its_own_field() {
    let (client, seen) = mock_server("/deployments/", StatusCode::UNPROCESSABLE_ENTITY);
    let (_, rejected) = apply(build_objects("{}", &nodes(1)), &client).await.unwrap();
    assert_eq!(rejected, [RejectedObject { field: "spec.relay", kind: "Deployment".into(), why: "no".into() }]);
    drop(client);
    assert!(seen.await.unwrap().iter().all(|line| !line.contains("apiservices")));
}
