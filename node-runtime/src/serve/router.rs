//! One server for all faces, on the agent's socket.

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{service::Routes, transport::Server};

/// Names under which `grpc.health.v1` says SERVING, besides the server as a whole. Clients ask for exactly these.
const HEALTH: [&str; 2] = ["hubble.server.Observer", "liveness"];

/// Serves `faces` until the socket fails.
pub async fn serve(listener: UnixListener, faces: Routes) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in HEALTH {
        reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
    Server::builder().add_routes(faces.add_service(health)).serve_with_incoming(UnixListenerStream::new(listener)).await
}
