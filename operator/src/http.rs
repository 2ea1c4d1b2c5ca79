//! The HTTP endpoints /metrics, /livez and /readyz. All of them are read-only.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

#[derive(Clone, Debug)]
pub(crate) struct HttpState {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
}

/// Whether the operator is ready, and what it waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<Mutex<ReadinessState>>);

#[derive(Debug, Default)]
struct ReadinessState {
    /// Every cache has synced.
    synced: bool,
    /// What is missing in the API server.
    waiting_for: Option<String>,
}

impl Readiness {
    pub(crate) fn set_synced(&self) {
        self.0.lock().synced = true;
    }

    pub(crate) fn set_waiting_for(&self, text: Option<String>) {
        self.0.lock().waiting_for = text;
    }

    /// None if the operator is ready.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.0.lock();
        let unsynced = || (!state.synced).then(|| "caches have not synced yet".to_owned());
        state.waiting_for.clone().or_else(unsynced)
    }
}

/// Serves until `stop`.
pub(crate) async fn serve(address: SocketAddr, state: HttpState, stop: CancellationToken) -> std::io::Result<()> {
    let listener = match tokio::net::TcpListener::bind(address).await {
        // A node without IPv6 has no [::]; 0.0.0.0 is meant there.
        Err(_) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            tokio::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await?
        }
        bound => bound?,
    };
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /livez and /readyz");
    axum::serve(listener, router(state)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(state: HttpState) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn readyz(State(state): State<HttpState>) -> impl IntoResponse {
    match state.readiness.problem() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem + "\n"),
    }
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    match state.metrics.encode() {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("encoding metrics: {error}\n")).into_response(),
    }
}
