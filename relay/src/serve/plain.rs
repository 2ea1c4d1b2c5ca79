//! `/metrics`, `/livez` and `/readyz` on a port of their own without TLS. All who connect to it are strangers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    connections::ConnectionLimits,
    readiness::{Readiness, listen, router},
    server::accept_each,
};
use crate::{metrics::Metrics, resources::byte_budget::ByteBudget};

/// Serves without TLS until `stop`.
pub async fn serve_metrics(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    budget: ByteBudget,
    readiness: Readiness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = listen(address).await?;
    accept_plain(listener, metrics, budget, readiness, ConnectionLimits::default(), stop).await;
    Ok(())
}

/// Serves the connections of a listener until `stop`, each for one request.
pub async fn accept_plain(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    budget: ByteBudget,
    readiness: Readiness,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let router = router(metrics, budget, readiness);
    accept_each(listener, limits, stop, move |tcp, place, _cut| {
        let router = router.clone();
        async move {
            let lifetime = place.limits().stranger_lifetime;
            let served = serve_once(tcp, router, lifetime).await;
            drop(place);
            served
        }
    })
    .await;
}

async fn serve_once(
    tcp: tokio::net::TcpStream,
    router: Router,
    lifetime: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(router));
    Ok(timeout(lifetime, connection).await??)
}
