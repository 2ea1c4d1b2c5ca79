//! Accepts connections. Each takes the TLS configuration of its time, so that a renewed certificate needs no restart.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    readiness::listen,
    request::{App, handle},
    server_tls::peer,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the API server keeps idle connections (90 s), so that it never writes to one that is being closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for requests that run when the relay stops; watches end at once after it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_CONNECTIONS: usize = 512;
/// Bytes that a connection buffers.
const BUFFER: usize = 64 << 10;
/// A client that has gone without a word is noticed after about this time.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves the aggregated API until `stop`.
pub async fn serve(
    address: SocketAddr,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    app: Arc<App>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = listen(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving the read API");
    accept(listener, tls, app, stop).await;
    Ok(())
}

/// Accepts connections of a listener until `stop`; then waits for the requests that run.
pub async fn accept(
    listener: TcpListener,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    app: Arc<App>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // The process has no descriptor left.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("{MAX_CONNECTIONS} connections are open already");
            continue;
        };
        let config = tls.borrow().clone();
        let (app, stop) = (Arc::clone(&app), stop.clone());
        connections.spawn(async move {
            let _place = place;
            if let Some(config) = config
                && let Err(error) = serve_connection(tcp, config, app, stop).await
            {
                tracing::debug!(%error, "a connection has failed");
            }
        });
    }
    connections.close();
    if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::info!("open watches are ended");
    }
}

async fn serve_connection(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    app: Arc<App>,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let _ = tcp.set_nodelay(true);
    rustix::net::sockopt::set_socket_keepalive(&tcp, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&tcp, KEEP_ALIVE)?;
    let stream = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(tcp)).await??;
    let peer = Arc::new(peer(stream.get_ref().1));
    let service = service_fn(move |request| {
        let (app, peer) = (Arc::clone(&app), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(handle(&app, &peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
