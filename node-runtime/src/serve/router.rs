//! One server for all faces, on the agent's socket.

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

/// The name under which `grpc.health.v1` says SERVING as long as anything is served, as for the server as a whole. Clients ask
/// for exactly this one, and for Hubble's.
const LIVENESS: &str = "liveness";

/// Serves `faces` until the socket fails or `end` comes or is dropped; then ends when the last call does. While
/// `flows_refused`, health says so of Hubble's observer.
pub async fn serve(
    listener: UnixListener,
    faces: Routes,
    flows_refused: watch::Receiver<bool>,
    end: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
    let incoming = UnixListenerStream::new(listener);
    let ended = async {
        let _ = end.await;
    };
    let faces = faces.add_service(health).into_axum_router().layer(from_fn(named));
    let served = Server::builder().add_routes(faces.into()).serve_with_incoming_shutdown(incoming, ended);
    tokio::select! {
        // First of all health: whoever is served asks for it.
        biased;
        never = tell_of_flows(reporter, flows_refused) => match never {},
        served = served => served,
    }
}

async fn tell_of_flows(reporter: HealthReporter, mut refused: watch::Receiver<bool>) -> Infallible {
    loop {
        let status = if *refused.borrow_and_update() { ServingStatus::NotServing } else { ServingStatus::Serving };
        reporter.set_service_status(super::hubble::HEALTH_SERVICE, status).await;
        if refused.changed().await.is_err() {
            return pending().await;
        }
    }
}

/// An answer of UNIMPLEMENTED that says nothing gets the name of what is not there.
async fn named(request: Request, next: Next) -> Response {
    // It comes from a stranger: only what may stand in a header as it is.
    let path: String =
        request.uri().path().chars().filter(|letter| letter.is_ascii_graphic() && *letter != '%').collect();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let unnamed = headers.get("grpc-message").is_none_or(HeaderValue::is_empty);
    if unnamed
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
    async fn what_is_not_served_is_answered_with_its_name_and_what_is_served_is_not_touched() {
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
        let mut ask = tonic::client::Grpc::new(channel.clone());
        ask.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/fossil.Dig/Deeper");
        let refused = ask.unary(Request::new(HealthCheckRequest::default()), path, codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(refused.message(), "/fossil.Dig/Deeper is not served by this agent");
        let status = async |service: &str| {
            let request = HealthCheckRequest { service: service.into() };
            HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status()
        };
        assert_eq!(status("liveness").await, Status::Serving);
        assert_eq!(status("hubble.server.Observer").await, Status::Serving);
        flows.send_replace(true);
        // The one thread tells it before it serves the next call.
        assert_eq!(status("hubble.server.Observer").await, Status::NotServing);
        assert_eq!(status("liveness").await, Status::Serving);
        drop(end);
    }
}
