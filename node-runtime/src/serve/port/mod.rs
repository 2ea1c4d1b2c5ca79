//! The port for the relay: all services over TLS, for clients with the relay's certificate. It exists only while the stack
//! wants a relay.

mod accept;
mod connection;

#[cfg(test)]
mod hubble_relay_tests;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::router::Services;

/// How long calls go on after the port was closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// An open port. Dropping it closes the port.
pub struct OpenPort {
    address: SocketAddr,
    closing: DropGuard,
    listener_closed: oneshot::Receiver<()>,
}

impl OpenPort {
    /// Serves what the listener accepts. Each new connection gets the configuration of that moment; open ones keep theirs.
    pub fn serve(
        listener: TcpListener,
        config: watch::Receiver<Option<Arc<ServerConfig>>>,
        services: Services,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
        let (connections, listener_closed) = accept::accept(listener, config, closing.clone(), cut.clone());
        let shutdown = closing.clone();
        tokio::spawn(async move {
            let cut = cut.drop_guard();
            let drained = async {
                shutdown.cancelled().await;
                sleep(DRAIN_TIMEOUT).await;
            };
            tokio::select! {
                served = services.serve_relay(connections, shutdown.cancelled()) => {
                    if let Err(error) = served {
                        tracing::error!(%error, "serving the relay's port");
                    }
                }
                () = drained => tracing::debug!("the relay still reads; its connections are cut"),
            }
            drop(cut);
        });
        Ok(Self { address, closing: closing.drop_guard(), listener_closed })
    }

    /// Returns once the port is free. Open calls get a moment to end; then their connections are cut.
    pub async fn close(self) {
        let Self { closing, listener_closed, .. } = self;
        drop(closing);
        // Fails only where the task of the listener is gone, and the listener with it.
        let _ = listener_closed.await;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
