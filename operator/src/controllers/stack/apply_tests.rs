//! `apply` against an API server that only listens: which requests, in which order.

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::json;
use tower_test::mock;

use super::{
    apply,
    world_of_tests::{children, nodes, settled},
};

/// Answers everything; a request whose path contains `denied` is answered with `code`. Returns method and path of each.
async fn listens(
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

fn listening(denied: &'static str, code: StatusCode) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let (service, requests) = mock::pair();
    (Client::new(service, "ink-system"), tokio::spawn(listens(requests, denied, code)))
}

#[tokio::test]
async fn parts_come_before_the_profile_and_the_profile_before_the_pointers_to_it() {
    let (client, seen) = listening("nothing is denied", StatusCode::OK);
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
            "PATCH /apis/apps/v1/namespaces/ink-system/daemonsets",
            "PATCH noderuntimes",
            "PATCH noderuntimes",
        ]
    );
}

#[tokio::test]
async fn what_is_denied_is_named_and_no_node_is_pointed_at_what_may_not_be_there() {
    let (client, seen) = listening("/nodeprofiles/", StatusCode::FORBIDDEN);
    let error = apply::run(children("{}", &nodes(1)), &client).await.unwrap_err();
    assert!(error.to_string().starts_with("applying NodeProfile default-default-"), "{error}");
    drop(client);
    assert!(seen.await.unwrap().iter().all(|line| !line.contains("noderuntimes")));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_told_so_before_its_pod_is_taken_from_it() {
    let mut found = nodes(2);
    settled(&mut found, "{}");
    found.nodes.pop();
    let (client, seen) = listening("nothing is denied", StatusCode::OK);
    apply::run(children("{}", &found), &client).await.unwrap();
    drop(client);
    let seen = seen.await.unwrap();
    let place = |what: &str| seen.iter().position(|line| line.contains(what)).unwrap();
    assert!(place("DELETE /apis/trilobite.dev/v1alpha1/noderuntimes/reef-001") < place("daemonsets"), "{seen:?}");
}

#[tokio::test]
async fn agents_that_kubernetes_will_not_have_keep_no_policy_from_those_that_run() {
    let (client, seen) = listening("/daemonsets/", StatusCode::UNPROCESSABLE_ENTITY);
    let (_, not_taken) = apply::run(children("{}", &nodes(1)), &client).await.unwrap();
    assert_eq!(not_taken, [apply::NotTaken { kind: "DaemonSet".into(), why: "no".into() }]);
    drop(client);
    assert!(seen.await.unwrap().iter().any(|line| line.contains("noderuntimes/reef-000")));
}
