//! The gRPC server of all services, on the agent's socket.

use std::{convert::Infallible, future::pending};

use axum::{
    extract::Request,
    http::HeaderValue,
    middleware::{Next, from_fn},
    response::Response,
};
use tokio::{
    net::UnixListener,
    sync::{oneshot, watch},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

/// `grpc.health.v1` reports SERVING under this name, and for the server as a whole, as long as the server runs. Clients
/// ask for exactly this name, and for Hubble's.
const LIVENESS: &str = "liveness";

/// Serves until the socket fails, or `shutdown` is sent or dropped; then waits for open calls. While `flows_refused`,
/// health reports NOT_SERVING for Hubble's observer.
pub async fn serve(
    listener: UnixListener,
    services: Routes,
    flows_refused: watch::Receiver<bool>,
    shutdown: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let incoming = UnixListenerStream::new(listener);
    let ended = async {
        let _ = shutdown.await;
    };
    let services = services.add_service(health).into_axum_router().layer(from_fn(name_unimplemented));
    let served = Server::builder().add_routes(services.into()).serve_with_incoming_shutdown(incoming, ended);
    tokio::select! {
        // Health first: clients ask for it before anything else.
        biased;
        never = report_flow_health(reporter, flows_refused) => match never {},
        served = served => served,
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
        tokio::spawn(serve(UnixListener::bind(&path).unwrap(), Routes::default(), are_refused, ended));
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
