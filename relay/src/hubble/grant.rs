//! Who calls, and what they may read: decided before a service sees the call.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use trilobite_api::read_scope::ReadScope;

use crate::{
    access::{Authenticator, ReadableNamespaces, RequestHeaders, Tenant, User, token_of, user_of_certificate},
    api_error::ApiError,
    resources::permission::Recheck,
    serve::{ClientConnection, is_trusted},
};

/// Health is answered to everyone: clients ask for it before anything else.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Whom bounds are counted for that comes by a port-forward.
const PORT_FORWARD: &str = "port-forward";

/// The other side of a connection.
#[derive(Clone)]
pub(super) enum Caller {
    /// It dials the pod's loopback, which takes the right to create pods/portforward.
    PortForward,
    Remote(Arc<ClientConnection>),
}

/// What a call may read.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) scope: ReadScope,
    pub(super) tenant: Tenant,
    /// None for a port-forward, whose right the API server has checked.
    checked: Option<Checked>,
}

#[derive(Clone)]
struct Checked {
    access: Arc<HubbleAccess>,
    credentials: Credentials,
    /// Closes the connection.
    cut: CancellationToken,
}

#[derive(Clone)]
enum Credentials {
    Token(String),
    Certificate(Vec<CertificateDer<'static>>),
}

pub struct HubbleAccess {
    pub authenticator: Authenticator,
    pub readable: ReadableNamespaces,
    pub headers: watch::Receiver<Option<Arc<RequestHeaders>>>,
}

impl HubbleAccess {
    async fn grant(self: &Arc<Self>, caller: &Caller, headers: &HeaderMap) -> Result<Grant, ApiError> {
        let Caller::Remote(connection) = caller else {
            let tenant = Tenant::User(PORT_FORWARD.into());
            return Ok(Grant { scope: ReadScope::Everything, tenant, checked: None });
        };
        let credentials = match connection.certificates.as_slice() {
            [] => {
                let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                Credentials::Token(header.and_then(token_of).ok_or_else(ApiError::unauthorized)?)
            }
            certificates => Credentials::Certificate(certificates.to_vec()),
        };
        let user = self.user(&credentials).await?;
        connection.admit_tenant(&user.tenant())?;
        let scope = self.readable.flows(&user).await?;
        let checked = Checked { access: Arc::clone(self), credentials, cut: connection.cut.clone() };
        Ok(Grant { scope, tenant: user.tenant(), checked: Some(checked) })
    }

    async fn user(&self, credentials: &Credentials) -> Result<User, ApiError> {
        match credentials {
            Credentials::Token(token) => self.authenticator.user_of_token(token).await,
            Credentials::Certificate(certificates) => {
                let headers = self.headers.borrow().clone();
                let trusted = headers.is_some_and(|headers| is_trusted(certificates, &headers.user_ca));
                let user = certificates.first().filter(|_| trusted).and_then(user_of_certificate);
                user.ok_or_else(ApiError::unauthorized)
            }
        }
    }
}

impl Grant {
    /// Asks again whether the caller may still read all of the scope, and what closes the connection of one that does not read
    /// that it may not. None for a port-forward.
    pub(super) fn recheck(&self) -> Option<(Recheck, CancellationToken)> {
        let Checked { access, credentials, cut } = self.checked.clone()?;
        let scope = self.scope.clone();
        let recheck: Recheck = Box::new(move || {
            let (access, credentials, scope) = (Arc::clone(&access), credentials.clone(), scope.clone());
            Box::pin(async move {
                let user = access.user(&credentials).await.map_err(|error| match error.code {
                    401 => ApiError::forbidden("the token or certificate of this stream is not valid any more"),
                    _ => error,
                })?;
                let now = access.readable.flows(&user).await?;
                let lost = lost_namespace(&scope, &now);
                lost.map_or(Ok(()), |name| {
                    let text = format!("user {:?} may not get flows {name} any more: observe again", user.name);
                    Err(ApiError::forbidden(text))
                })
            })
        });
        Some((recheck, cut))
    }
}

/// What may not be read any more.
fn lost_namespace(before: &ReadScope, now: &ReadScope) -> Option<String> {
    match (before, now) {
        (_, ReadScope::Everything) => None,
        (ReadScope::Everything, ReadScope::Namespaces(_)) => Some("in the whole cluster".into()),
        (ReadScope::Namespaces(before), ReadScope::Namespaces(now)) => {
            before.difference(now).next().map(|name| format!("in namespace {name:?}"))
        }
    }
}

/// Gives each call its grant, or refuses it.
pub(super) async fn attach_grant(
    State(access): State<Arc<HubbleAccess>>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path().starts_with(HEALTH) {
        return next.run(request).await;
    }
    let granted = match request.extensions().get::<Caller>().cloned() {
        Some(caller) => access.grant(&caller, request.headers()).await,
        None => Err(ApiError::unauthorized()),
    };
    match granted {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            next.run(request).await
        }
        Err(error) => grpc_status(&error).into_http(),
    }
}

/// The grant of a call. One that came by no listener has none.
pub(super) fn grant<T>(request: &tonic::Request<T>) -> Result<Grant, Status> {
    request.extensions().get().cloned().ok_or_else(|| grpc_status(&ApiError::unauthorized()))
}

/// The same error as Hubble's clients read it.
pub(super) fn grpc_status(error: &ApiError) -> Status {
    match error.code {
        401 => Status::unauthenticated(
            "Unauthorized: use a client certificate of the cluster, or --basic-auth-username token with a token as the password",
        ),
        code => {
            let code = match code {
                400 => Code::InvalidArgument,
                403 => Code::PermissionDenied,
                410 => Code::Aborted,
                429 => Code::ResourceExhausted,
                503 => Code::Unavailable,
                _ => Code::Internal,
            };
            Status::new(code, error.message.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_that_was_lost_is_named() {
        let lost = |before: &str, now: &str| {
            lost_namespace(&ReadScope::parse(before).unwrap(), &ReadScope::parse(now).unwrap())
        };
        assert_eq!(lost("shop", "shop,bank"), None);
        assert_eq!(lost("shop", "*"), None);
        assert_eq!(lost("bank,shop", "shop").as_deref(), Some("in namespace \"bank\""));
        assert_eq!(lost("*", "shop").as_deref(), Some("in the whole cluster"));
    }

    #[test]
    fn stranger_is_told_how_to_show_a_token() {
        let status = grpc_status(&ApiError::unauthorized());
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().contains("--basic-auth-username token"), "{status}");
        assert_eq!(grpc_status(&ApiError::too_many_requests("later")).code(), Code::ResourceExhausted);
    }
}
