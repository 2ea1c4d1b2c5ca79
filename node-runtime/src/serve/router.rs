//! The gRPC server of all services, on the agent's socket and on the relay's port.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    extract::Request,
    http::HeaderValue,
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::{oneshot, watch},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::scope::{ScopeRule, attach_scope};

/// `grpc.health.v1` reports SERVING under this name, and for the server as a whole, as long as the server runs. Clients
/// ask for exactly this name, and for Hubble's.
const LIVENESS: &str = "liveness";
/// Calls of one connection of the relay at a time: more than its watchers.
const RELAY_CALLS_MAX: u32 = 256;
/// A relay that is gone without a word is noticed after this and the timeout.
const RELAY_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// All services together with their health. Clones answer alike.
#[derive(Clone)]
pub struct Services {
    routes: Routes,
    reporter: HealthReporter,
}

impl Services {
    pub fn new(services: Routes) -> Self {
        let (reporter, health) = tonic_health::server::health_reporter();
        Self { routes: services.add_service(health), reporter }
    }

    pub(super) fn routes(&self, rule: ScopeRule) -> Routes {
        let router = self.routes.clone().into_axum_router();
        router.layer(from_fn(name_unimplemented)).layer(from_fn_with_state(rule, attach_scope)).into()
    }

    /// Serves the socket until it fails, or `shutdown` is sent or dropped; then waits for open calls. While `flows_refused`,
    /// health reports NOT_SERVING for Hubble's observer.
    pub async fn serve_socket(
        self,
        listener: UnixListener,
        flows_refused: watch::Receiver<bool>,
        shutdown: oneshot::Receiver<()>,
    ) -> Result<(), tonic::transport::Error> {
        self.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        let incoming = UnixListenerStream::new(listener);
        let ended = async {
            let _ = shutdown.await;
        };
        let routes = self.routes(ScopeRule::Optional);
        let served = Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, ended);
        tokio::select! {
            // Health first: clients ask for it before anything else.
            biased;
            never = report_flow_health(self.reporter, flows_refused) => match never {},
            served = served => served,
        }
    }

    /// Serves connections of the relay, whose calls have to name a scope, until `incoming` or `shutdown` ends; then waits for
    /// open calls.
    pub(super) async fn serve_relay<C>(
        self,
        incoming: impl Stream<Item = Result<C, Infallible>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error>
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        Server::builder()
            .max_concurrent_streams(RELAY_CALLS_MAX)
            .http2_keepalive_interval(Some(RELAY_KEEPALIVE.0))
            .http2_keepalive_timeout(Some(RELAY_KEEPALIVE.1))
            .add_routes(self.routes(ScopeRule::Required))
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
    }
}

async fn report_flow_health(reporter: HealthReporter, mut refused: watch::Receiver<bool>) -> Infallible {
    loop {
        let status = if *refused.borrow_and_update() { ServingStatus::NotServing } else { ServingStatus::Serving };
        reporter.set_service_status(super::hubble::HEALTH_SERVICE, status).await;
        if refused.changed().await.is_err() {
            return pending().await;
        }
    }
}

/// Adds the method's name to an UNIMPLEMENTED answer without a message.
async fn name_unimplemented(request: Request, next: Next) -> Response {
    // Untrusted: only characters that a header may contain unescaped.
    let path: String =
        request.uri().path().chars().filter(|letter| letter.is_ascii_graphic() && *letter != '%').collect();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let has_no_message = headers.get("grpc-message").is_none_or(HeaderValue::is_empty);
    if has_no_message
        && headers.get("grpc-status").is_some_and(|status| status == "12")
        && let Ok(message) = HeaderValue::from_str(&format!("{path} is not served by this agent"))
    {
        headers.insert("grpc-message", message);
    }
    response
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixStream;
    use tonic::{Code, Request, transport::Endpoint};
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Status, health_client::HealthClient,
    };
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn unknown_method_is_named_and_health_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let (end, ended) = oneshot::channel();
        let (flows, are_refused) = watch::channel(false);
        let services = Services::new(Routes::default());
        tokio::spawn(services.serve_socket(UnixListener::bind(&path).unwrap(), are_refused, ended));
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap();
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/fossil.Dig/Deeper");
        let refused = client.unary(Request::new(HealthCheckRequest::default()), path, codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(refused.message(), "/fossil.Dig/Deeper is not served by this agent");
        let status = async |service: &str| {
            let request = HealthCheckRequest { service: service.into() };
            HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status()
        };
        assert_eq!(status("liveness").await, Status::Serving);
        assert_eq!(status("hubble.server.Observer").await, Status::Serving);
        flows.send_replace(true);
        // The one thread updates health before it serves the next call.
        assert_eq!(status("hubble.server.Observer").await, Status::NotServing);
        assert_eq!(status("liveness").await, Status::Serving);
        drop(end);
    }
}
