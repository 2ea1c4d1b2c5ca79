//! Accepts connections at the port and does their handshakes, so that a client that says nothing keeps no other out.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use futures::Stream;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at a time; the oldest gives way to a new one.
const HANDSHAKES_MAX: usize = 16;
/// Pause after a failed accept, e.g. without a free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Connections whose handshake the configuration of that moment accepted. The listener is closed when `closing` is cancelled,
/// and `closed` is sent then. Without a configuration a client is sent away.
pub(super) fn accept(
    listener: TcpListener,
    config: watch::Receiver<Option<Arc<ServerConfig>>>,
    closing: CancellationToken,
    cut: CancellationToken,
) -> (impl Stream<Item = Result<Connection, Infallible>>, tokio::sync::oneshot::Receiver<()>) {
    let (sender, connections) = mpsc::channel(1);
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        closing.run_until_cancelled_owned(accept_all(listener, config, sender, cut)).await;
        // The listener is dropped. Nothing waits for this where the receiver is gone.
        let _ = closed.send(());
    });
    (ReceiverStream::new(connections).map(Ok), is_closed)
}

async fn accept_all(
    listener: TcpListener,
    config: watch::Receiver<Option<Arc<ServerConfig>>>,
    connections: mpsc::Sender<Connection>,
    cut: CancellationToken,
) {
    let mut handshakes: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection at the relay's port");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(config) = config.borrow().clone() else { continue };
        handshakes.retain(|handshake| !handshake.is_finished());
        if handshakes.len() >= HANDSHAKES_MAX
            && let Some(oldest) = handshakes.pop_front()
        {
            oldest.abort();
        }
        let handshake = tokio::spawn(hand_over(stream, config, connections.clone(), cut.clone()));
        handshakes.push_back(handshake.abort_handle());
    }
}

async fn hand_over(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    connections: mpsc::Sender<Connection>,
    cut: CancellationToken,
) {
    let peer = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    // An answer is not delayed by the wait for more bytes.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(config).accept(stream);
    match cut.run_until_cancelled(timeout(HANDSHAKE_TIMEOUT, handshake)).await {
        None => {}
        Some(Err(_)) => tracing::debug!(%peer, "no handshake within {HANDSHAKE_TIMEOUT:?} at the relay's port"),
        Some(Ok(Err(error))) => tracing::info!(%peer, %error, "refused a client at the relay's port"),
        // The server is gone: the port was closed meanwhile.
        Some(Ok(Ok(stream))) => drop(connections.send(Connection::new(stream, cut)).await),
    }
}
