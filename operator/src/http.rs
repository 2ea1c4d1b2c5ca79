//! What is served over HTTP: /metrics, /livez and /readyz. Nothing that changes anything.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the endpoints answer from.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) metrics: Arc<Metrics>,
    /// Every first list has been read.
    pub(crate) ready: Arc<AtomicBool>,
}

/// Serves until `stop`.
pub(crate) async fn serve(address: SocketAddr, served: Served, stop: CancellationToken) -> std::io::Result<()> {
    let listener = match tokio::net::TcpListener::bind(address).await {
        // Every address, on a node without IPv6.
        Err(_) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            tokio::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await?
        }
        bound => bound?,
    };
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /livez and /readyz");
    axum::serve(listener, router(served)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(served)
}

async fn ready(State(served): State<Served>) -> impl IntoResponse {
    if served.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "reading the first lists\n")
    }
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    match served.metrics.text() {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("encoding metrics: {error}\n")).into_response(),
    }
}
