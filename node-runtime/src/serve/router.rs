//! One server for all faces, on the agent's socket.

use tokio::{net::UnixListener, sync::oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{service::Routes, transport::Server};

/// Names under which `grpc.health.v1` says SERVING, besides the server as a whole. Clients ask for exactly these.
const HEALTH: [&str; 2] = [super::hubble::HEALTH_SERVICE, "liveness"];

/// Serves `faces` until the socket fails or `end` comes or is dropped; then ends when the last call does.
pub async fn serve(
    listener: UnixListener,
    faces: Routes,
    end: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in HEALTH {
        reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
    let incoming = UnixListenerStream::new(listener);
    let ended = async {
        let _ = end.await;
    };
    Server::builder().add_routes(faces.add_service(health)).serve_with_incoming_shutdown(incoming, ended).await
}
