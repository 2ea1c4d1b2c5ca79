//! The read scope of a call: taken from its metadata before any service sees it. Required at the relay's port, optional on
//! the socket, which only administrators reach.

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use tonic::Status;
use trilobite_api::read_scope::{READ_NAMESPACES, ReadScope};

use super::port_client::PortClient;

/// The services of Hubble.
const HUBBLE_SERVICES: [&str; 3] = ["/observer.Observer/", "/peer.Peer/", "/grpc.health.v1.Health/"];

/// What a call without a scope may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScopeRule {
    /// Nothing: it is refused.
    Required,
    /// Everything.
    Optional,
}

/// Gives each call its scope, or refuses it.
pub(super) async fn attach_scope(State(rule): State<ScopeRule>, mut request: Request, next: Next) -> Response {
    let scope = match request.extensions().get() {
        Some(PortClient::HubbleRelay { .. }) => hubble_relay_scope(request.uri().path()),
        Some(PortClient::Relay) | None => scope_in(request.headers(), rule),
    };
    match scope {
        Ok(scope) => {
            request.extensions_mut().insert(scope);
            next.run(request).await
        }
        Err(status) => status.into_http(),
    }
}

/// A relay of Hubble knows no scope. What is none of its business is refused.
fn hubble_relay_scope(path: &str) -> Result<ReadScope, Status> {
    if HUBBLE_SERVICES.iter().any(|service| path.starts_with(service)) {
        return Ok(ReadScope::Everything);
    }
    Err(Status::permission_denied("the certificate of a hubble-relay reads flows alone"))
}

fn scope_in(headers: &HeaderMap, rule: ScopeRule) -> Result<ReadScope, Status> {
    let mut values = headers.get_all(READ_NAMESPACES).iter();
    match (values.next(), values.next(), rule) {
        (None, _, ScopeRule::Optional) => Ok(ReadScope::Everything),
        (None, _, ScopeRule::Required) => Err(without_scope()),
        // Which of two would count is not to be guessed.
        (Some(_), Some(_), _) => Err(Status::permission_denied(format!("{READ_NAMESPACES}: it is there twice"))),
        (Some(value), None, _) => {
            let text = value.to_str().unwrap_or_default();
            ReadScope::parse(text).map_err(|error| Status::permission_denied(error.to_string()))
        }
    }
}

/// The scope of a call. A call that no listener gave a scope may read nothing.
pub(super) fn read_scope<T>(request: &tonic::Request<T>) -> Result<ReadScope, Status> {
    request.extensions().get().cloned().ok_or_else(without_scope)
}

fn without_scope() -> Status {
    Status::permission_denied(format!("{READ_NAMESPACES}: this metadata is missing; it names the namespaces to read"))
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::HeaderValue;
    use tonic::Code;

    use super::*;

    /// A request with the scope that a listener would have given it.
    pub(crate) fn scoped<T>(message: T, scope: &str) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(ReadScope::parse(scope).unwrap());
        request
    }

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(READ_NAMESPACES, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn call_without_a_scope_is_refused_where_it_is_required() {
        let refused = scope_in(&headers(&[]), ScopeRule::Required).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains(READ_NAMESPACES));
        assert_eq!(scope_in(&headers(&[]), ScopeRule::Optional).unwrap(), ReadScope::Everything);
    }

    #[test]
    fn relay_of_hubble_reads_flows_alone() {
        for path in ["/observer.Observer/GetFlows", "/peer.Peer/Notify"] {
            assert_eq!(hubble_relay_scope(path).unwrap(), ReadScope::Everything, "{path}");
        }
        for path in ["/tetragon.FineGuidanceSensors/GetEvents", "/trilobite.v1.Profiles/Get", "/observer.ObserverX/Y"] {
            assert_eq!(hubble_relay_scope(path).unwrap_err().code(), Code::PermissionDenied, "{path}");
        }
    }

    #[test]
    fn scope_is_honoured_under_both_rules() {
        for rule in [ScopeRule::Required, ScopeRule::Optional] {
            assert_eq!(scope_in(&headers(&["shop"]), rule).unwrap(), ReadScope::namespace("shop"));
            assert_eq!(scope_in(&headers(&["*"]), rule).unwrap(), ReadScope::Everything);
            for wrong in [["shop", "*"].as_slice(), &[""], &["Shop"], &["shop,"]] {
                let refused = scope_in(&headers(wrong), rule).unwrap_err();
                assert_eq!(refused.code(), Code::PermissionDenied, "{wrong:?}");
            }
        }
    }

    #[test]
    fn request_that_passed_no_listener_may_read_nothing() {
        assert_eq!(read_scope(&tonic::Request::new(())).unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(read_scope(&scoped((), "shop")).unwrap(), ReadScope::namespace("shop"));
    }
}
