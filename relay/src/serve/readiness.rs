//! `/livez` and `/readyz`, and `/metrics` on a port of its own without TLS.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rustls::{ClientConfig, ServerConfig};
use tokio::{net::TcpListener, sync::watch};

use crate::{access::RequestHeaders, metrics::Metrics, resources::byte_budget::ByteBudget};

/// What the relay needs before it can serve. Agents are not among it.
#[derive(Clone)]
pub struct Readiness {
    pub serving: watch::Receiver<Option<Arc<ServerConfig>>>,
    pub agents: watch::Receiver<Option<Arc<ClientConfig>>>,
    pub headers: watch::Receiver<Option<Arc<RequestHeaders>>>,
}

impl Readiness {
    /// None if the relay is ready.
    pub fn problem(&self) -> Option<&'static str> {
        let Self { serving, agents, headers } = self;
        let missing = [
            (serving.borrow().is_none(), "no serving certificate yet: the operator signs it"),
            (agents.borrow().is_none(), "no client certificate or trust bundle yet: the operator makes both"),
            (headers.borrow().is_none(), "ConfigMap kube-system/extension-apiserver-authentication is not read yet"),
        ];
        missing.into_iter().find(|(is_missing, _)| *is_missing).map(|(_, text)| text)
    }

    pub(super) fn response(&self) -> Response {
        match self.problem() {
            None => (StatusCode::OK, "ok\n").into_response(),
            Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
        }
    }
}

#[derive(Clone)]
struct MetricsState {
    metrics: Arc<Metrics>,
    budget: ByteBudget,
    readiness: Readiness,
}

pub(super) fn metrics_response(metrics: &Metrics, budget: &ByteBudget) -> Response {
    metrics.queued_bytes.set(i64::try_from(budget.used()).unwrap_or(i64::MAX));
    match metrics.encode() {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("encoding metrics: {error}\n")).into_response(),
    }
}

/// What is served without TLS.
pub(super) fn router(metrics: Arc<Metrics>, budget: ByteBudget, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async |State(state): State<MetricsState>| state.readiness.response()))
        .route(
            "/metrics",
            get(async |State(state): State<MetricsState>| metrics_response(&state.metrics, &state.budget)),
        )
        .with_state(MetricsState { metrics, budget, readiness })
}

/// A node without IPv6 has no `[::]`; 0.0.0.0 is meant there.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}
