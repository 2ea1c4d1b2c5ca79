//! The two ports of Hubble's API: the pod's loopback without TLS, which port-forwards alone reach, and TLS for users with a client
//! certificate or a token.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::Request, middleware::from_fn_with_state};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tower::ServiceExt as _;
use trilobite_api::observer::observer_server::ObserverServer;
use trilobite_certificates::Certificate;

use super::{
    grant::{Caller, HubbleAccess, attach_grant},
    observer::RelayObserver,
};
use crate::{
    access::{Peer, RequestHeaders},
    serve::{
        App, ClientConnection, ConnectionError, ConnectionLimits, ServerTlsError, StrangerPlace, accept_each, listen,
        peer, tls_config, with_timeouts,
    },
};

/// `hubble status` asks for the health of this name, and hubble-ui for that of the server as a whole.
const HEALTH_SERVICE: &str = "hubble.server.Observer";
/// Calls of one connection at a time.
const MAX_CALLS: u32 = 32;
/// Bytes of one call that wait to be sent.
const SEND_BUFFER: usize = 64 << 10;
/// A client that is gone without a word is noticed after this and the timeout.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// The services of both ports.
#[derive(Clone)]
pub struct HubbleServer {
    router: Router,
}

impl HubbleServer {
    /// Health is that of the relay: it has to be able to ask agents.
    pub fn new(app: Arc<App>, access: HubbleAccess) -> Self {
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut agents = app.readiness.agents.clone();
        tokio::spawn(async move {
            loop {
                let has_certificate = agents.borrow_and_update().is_some();
                let status = if has_certificate { ServingStatus::Serving } else { ServingStatus::NotServing };
                for name in [HEALTH_SERVICE, ""] {
                    reporter.set_service_status(name, status).await;
                }
                if agents.changed().await.is_err() {
                    return;
                }
            }
        });
        let routes = Routes::new(health).add_service(ObserverServer::new(RelayObserver { app }));
        let router = routes.into_axum_router().layer(from_fn_with_state(Arc::new(access), attach_grant));
        Self { router }
    }

    async fn serve_http2(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        caller: Caller,
        deadline: Instant,
        stop: CancellationToken,
    ) -> Result<(), ConnectionError> {
        let service = service_fn({
            let caller = caller.clone();
            move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(caller.clone());
                self.router.clone().oneshot(request)
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CALLS)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let (mut is_new, mut is_stopping) = (true, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => return Ok(ended?),
                () = sleep_until(deadline), if is_new => {
                    if let Caller::Remote(client) = &caller
                        && client.is_stranger()
                    {
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
}

/// Shows the relay's certificate, and takes users' own certificates of the cluster's CA.
pub fn hubble_server_config(
    certificate: &Certificate,
    headers: &RequestHeaders,
) -> Result<ServerConfig, ServerTlsError> {
    tls_config(certificate, &headers.user_ca, b"h2")
}

/// Serves port-forwards until `stop`.
pub async fn serve_hubble_loopback(
    address: SocketAddr,
    server: HubbleServer,
    stop: CancellationToken,
) -> io::Result<()> {
    accept_hubble_loopback(listen(address).await?, server, stop).await;
    Ok(())
}

/// Accepts the port-forwards of a listener until `stop`.
pub async fn accept_hubble_loopback(listener: TcpListener, server: HubbleServer, stop: CancellationToken) {
    let serving = stop.clone();
    accept_each(listener, ConnectionLimits::default(), stop, move |tcp, place, _cut| {
        let (server, stop) = (server.clone(), serving.clone());
        async move {
            // Whatever address the listener has: without TLS no one is served from outside of the pod.
            if !tcp.peer_addr()?.ip().is_loopback() {
                return Err("not from the pod's loopback".into());
            }
            let limits = place.limits();
            let tcp = with_timeouts(tcp, limits.unread)?;
            let served = server.serve_http2(tcp, Caller::PortForward, Instant::now(), stop).await;
            drop(place);
            served
        }
    })
    .await;
}

/// Serves users with a client certificate or a token until `stop`.
pub async fn serve_hubble_tls(
    address: SocketAddr,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    server: HubbleServer,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = listen(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving Hubble's API");
    accept_hubble_tls(listener, tls, server, ConnectionLimits::default(), stop).await;
    Ok(())
}

/// Accepts the users of a listener until `stop`; without a certificate they are sent away.
pub async fn accept_hubble_tls(
    listener: TcpListener,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    server: HubbleServer,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let serving = stop.clone();
    accept_each(listener, limits, stop, move |tcp, place, cut| {
        let (config, server, stop) = (tls.borrow().clone(), server.clone(), serving.clone());
        async move {
            match config {
                Some(config) => serve_user(tcp, config, server, place, cut, stop).await,
                None => Ok(()),
            }
        }
    })
    .await;
}

async fn serve_user(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    server: HubbleServer,
    place: StrangerPlace,
    cut: CancellationToken,
    stop: CancellationToken,
) -> Result<(), ConnectionError> {
    let limits = place.limits();
    let deadline = Instant::now() + limits.stranger_lifetime;
    let tcp = with_timeouts(tcp, limits.unread)?;
    let stream = timeout_at(deadline, TlsAcceptor::from(config).accept(tcp)).await??;
    let (_, certificates) = peer(stream.get_ref().1);
    let Some(client) = ClientConnection::new(Peer::default(), certificates, false, place, cut) else {
        return Ok(());
    };
    server.serve_http2(stream, Caller::Remote(Arc::new(client)), deadline, stop).await
}
