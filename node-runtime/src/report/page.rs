//! A page of metrics in the text format of OpenMetrics.

use axum::http::StatusCode;
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    registry::Registry,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a scrape is answered with.
pub type PageResponse = Result<([(&'static str, &'static str); 1], String), (StatusCode, String)>;

/// The metrics of all registries, read now.
pub fn page<'a>(registries: impl IntoIterator<Item = &'a Registry>) -> PageResponse {
    let mut text = String::new();
    let encoded = registries.into_iter().try_for_each(|registry| encode_registry(&mut text, registry));
    match encoded.and_then(|()| encode_eof(&mut text)) {
        Ok(()) => Ok(([("content-type", CONTENT_TYPE)], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
