//! Accepts connections. Each takes the TLS configuration of its time, so that a renewed certificate needs no restart.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connections::{ClientConnection, ConnectionLimits, Connections, StrangerPlace},
    readiness::listen,
    request::{App, handle},
    server_tls::peer,
    write_timeout::WriteTimeout,
};

/// Longer than the API server keeps idle connections (90 s), so that it never writes to one that is being closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for requests that run when the relay stops; watches end at once after it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a connection buffers.
const BUFFER: usize = 64 << 10;
/// A client that has gone without a word is noticed after about this time.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

pub(crate) type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

/// Serves the aggregated API until `stop`.
pub async fn serve(
    address: SocketAddr,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    app: Arc<App>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = listen(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving the read API");
    accept(listener, tls, app, ConnectionLimits::default(), stop).await;
    Ok(())
}

/// Accepts connections of a listener until `stop`; then waits for the requests that run.
pub async fn accept(
    listener: TcpListener,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    app: Arc<App>,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let serving = stop.clone();
    accept_each(listener, limits, stop, move |tcp, place, cut| {
        let (config, app, stop) = (tls.borrow().clone(), Arc::clone(&app), serving.clone());
        async move {
            match config {
                Some(config) => serve_connection(tcp, config, app, place, cut, stop).await,
                None => Ok(()),
            }
        }
    })
    .await;
}

/// Calls `serve` with each connection, as one of a stranger, until `stop`.
pub(crate) async fn accept_each<F>(
    listener: TcpListener,
    limits: ConnectionLimits,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, StrangerPlace, CancellationToken) -> F,
) where
    F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
{
    let running = TaskTracker::new();
    let connections = Connections::new(limits);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The process has no descriptor left.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let cut = CancellationToken::new();
        let served = serve(tcp, connections.admit(address.ip(), cut.clone()), cut.clone());
        running.spawn(async move {
            tokio::select! {
                ended = served => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection has failed");
                },
                () = cut.cancelled() => tracing::debug!("a connection is cut off"),
            }
        });
    }
    running.close();
    if timeout(DRAIN_TIMEOUT, running.wait()).await.is_err() {
        tracing::info!("open watches are ended");
    }
}

/// Small messages are sent at once, and a client that has gone, or reads nothing for `unread`, is an error.
pub(crate) fn with_timeouts(tcp: TcpStream, unread: Duration) -> io::Result<WriteTimeout<TcpStream>> {
    let _ = tcp.set_nodelay(true);
    rustix::net::sockopt::set_socket_keepalive(&tcp, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&tcp, KEEP_ALIVE)?;
    // What is left to send when the connection is closed goes with it, if the client still does not read.
    let milliseconds = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&tcp, milliseconds)?;
    Ok(WriteTimeout::new(tcp, unread))
}

async fn serve_connection(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    app: Arc<App>,
    place: StrangerPlace,
    cut: CancellationToken,
    stop: CancellationToken,
) -> Result<(), ConnectionError> {
    let limits = place.limits();
    let deadline = Instant::now() + limits.stranger_lifetime;
    let tcp = with_timeouts(tcp, limits.unread)?;
    let stream = timeout_at(deadline, TlsAcceptor::from(config).accept(tcp)).await??;
    let (peer, certificates) = peer(stream.get_ref().1);
    let is_proxy = app.is_proxy(&peer);
    let Some(client) = ClientConnection::new(peer, certificates, is_proxy, place, cut) else {
        return Err(format!("{} connections of the API server are open already", limits.proxy).into());
    };
    let client = Arc::new(client);
    let service = service_fn({
        let client = Arc::clone(&client);
        move |request| {
            let (app, client) = (Arc::clone(&app), Arc::clone(&client));
            async move { Ok::<_, Infallible>(handle(&app, &client, request).await) }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let (mut is_new, mut is_stopping) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = sleep_until(deadline), if is_new => {
                if client.is_stranger() {
                    return Err("a stranger's connection lasts too long".into());
                }
                is_new = false;
            }
            () = stop.cancelled(), if !is_stopping => {
                connection.as_mut().graceful_shutdown();
                is_stopping = true;
            }
        }
    }
}
