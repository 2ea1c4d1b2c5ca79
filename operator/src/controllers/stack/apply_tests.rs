//! `apply` against an API server that only listens: which requests, in which order.

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::json;
use tower_test::mock;

use super::{
    apply,
    world_of_tests::{children, nodes},
};

/// Answers everything; a request whose path contains `denied` is forbidden. Returns method and path of each.
async fn listens(mut requests: mock::Handle<Request<Body>, Response<Body>>, denied: &str) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some((request, answer)) = requests.next_request().await {
        let path = request.uri().path().to_owned();
        seen.push(format!("{} {path}", request.method()));
        if request.method() == Method::PATCH {
            let query = request.uri().query().unwrap_or_default();
            assert!(query.contains("force=true") && query.contains("fieldManager=trilobite-operator"), "{query}");
        }
        let (status, body) = if path.contains(denied) {
            let why = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403});
            (StatusCode::FORBIDDEN, why.to_string().into_bytes())
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

fn listening(denied: &'static str) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let (service, requests) = mock::pair();
    (Client::new(service, "ink-system"), tokio::spawn(listens(requests, denied)))
}

#[tokio::test]
async fn parts_come_before_the_profile_and_the_profile_before_the_pointers_to_it() {
    let (client, seen) = listening("nothing is denied");
    apply::run(children("{security: {mode: Enabled}}", &nodes(2)), &client).await.unwrap();
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
            "DELETE /api/v1/namespaces/ink-system/services",
            "PATCH /apis/apps/v1/namespaces/ink-system/daemonsets",
            "PATCH noderuntimes",
            "PATCH noderuntimes",
        ]
    );
}

#[tokio::test]
async fn what_is_denied_is_named_and_no_node_is_pointed_at_what_may_not_be_there() {
    let (client, seen) = listening("/nodeprofiles/");
    let error = apply::run(children("{}", &nodes(1)), &client).await.unwrap_err();
    assert!(error.to_string().starts_with("applying NodeProfile default-default-"), "{error}");
    drop(client);
    assert!(seen.await.unwrap().iter().all(|line| !line.contains("noderuntimes")));
}
