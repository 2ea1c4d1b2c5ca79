//! Answers TokenReviews and SubjectAccessReviews, in place of the API server.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::service_fn;

const NAMESPACES: [&str; 3] = ["bank", "reef", "shop"];

#[derive(Default)]
pub(crate) struct Rights {
    /// `USER VERB RESOURCE[/SUBRESOURCE] NAMESPACE`, with `*` for the whole cluster.
    pub(crate) allowed: BTreeSet<String>,
    pub(crate) reviews: usize,
    /// The server answers with an error that names its address.
    pub(crate) is_away: bool,
}

/// A client of a server that allows what is in `rights`, and knows the token `token-of-NAME`.
pub(crate) fn client(rights: Arc<Mutex<Rights>>) -> kube::Client {
    let service = service_fn(move |request: Request<Body>| {
        let rights = Arc::clone(&rights);
        async move {
            if rights.lock().is_away {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
                                    "reason": "InternalError", "message": "dial tcp 10.96.0.1:443: refused"});
                let response = Response::builder().status(500).header("content-type", "application/json");
                return Ok(response.body(Body::from(status.to_string().into_bytes())).unwrap());
            }
            let path = request.uri().path().to_owned();
            if path == "/api/v1/namespaces" {
                let items: Vec<Value> = NAMESPACES.map(|name| json!({"metadata": {"name": name}})).into();
                let list = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items});
                let response = Response::builder().status(200).header("content-type", "application/json");
                return Ok(response.body(Body::from(list.to_string().into_bytes())).unwrap());
            }
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            let mut review: Value = serde_json::from_slice(&bytes).unwrap();
            let spec = review["spec"].clone();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            review["status"] = if path.ends_with("/tokenreviews") {
                match spec["token"].as_str().unwrap().strip_prefix("token-of-") {
                    Some(name) => json!({"authenticated": true, "user": {"username": name, "groups": ["dev"]}}),
                    None => json!({"authenticated": false}),
                }
            } else {
                assert!(path.ends_with("/subjectaccessreviews"), "{path}");
                let attributes = &spec["resourceAttributes"];
                let mut resource = text(&attributes["resource"]);
                if let Some(subresource) = attributes["subresource"].as_str() {
                    resource = format!("{resource}/{subresource}");
                }
                let namespace = attributes["namespace"].as_str().unwrap_or("*");
                let request = format!("{} {} {resource} {namespace}", text(&spec["user"]), text(&attributes["verb"]));
                let mut rights = rights.lock();
                rights.reviews += 1;
                json!({"allowed": rights.allowed.contains(&request)})
            };
            let response = Response::builder().status(201).header("content-type", "application/json");
            Ok::<_, Infallible>(response.body(Body::from(review.to_string().into_bytes())).unwrap())
        }
    });
    kube::Client::new(service, "default")
}
