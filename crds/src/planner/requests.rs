//! What a `RequestsSpec` asks of a node.

use super::refusal::Refusal;
use crate::{
    app_profile::{Literals, RequestProtocol, RequestsSpec},
    node::{RequestsSession, Source},
};

/// How long rows are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) minutes: u32,
    pub(super) minutes_after_end: u32,
}

/// `field` is the path of `spec` in its object.
pub(super) fn requests_session(
    source: &Source,
    field: &str,
    spec: &RequestsSpec,
    retention: Retention,
) -> Result<RequestsSession, Refusal> {
    if let Some(index) = spec.protocols.iter().position(|protocol| !protocol.is_supported()) {
        return Err(Refusal::protocol_not_supported(
            source,
            &format!("{field}.protocols[{index}]"),
            spec.protocols[index],
        ));
    }
    let asked = if spec.protocols.is_empty() { &RequestProtocol::SUPPORTED[..] } else { &spec.protocols };
    let redact = spec.redact.as_ref();
    Ok(RequestsSession {
        protocols: sorted(asked.iter().copied()),
        ports: sorted(spec.ports.iter().filter_map(|port| u16::try_from(*port).ok())),
        roles: sorted(spec.roles.iter().copied()),
        tls: spec.tls,
        slower_than_ms: spec.slower_than_ms.unwrap_or_default().unsigned_abs(),
        only_errors: spec.only_errors,
        payload_bytes: spec.payload.as_ref().map_or(0, |payload| payload.max_bytes.unsigned_abs()),
        keep_literals: redact.is_some_and(|redact| redact.literals == Literals::Keep),
        redact_headers: sorted(
            redact.into_iter().flat_map(|redact| &redact.headers).map(|name| name.to_ascii_lowercase()),
        ),
        retain_minutes: retention.minutes,
        retain_after_end_minutes: retention.minutes_after_end,
    })
}

/// Sorted, each once, so that equal specs give equal sessions.
pub(super) fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
