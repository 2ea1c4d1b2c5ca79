//! What rows do not show of header fields: credentials, values of queries, and of gRPC the metadata and texts of the application.

use std::ops::Range;
use std::sync::Arc;

use crate::Settings;
use crate::exchange::TRUNCATED;
use crate::limits::TEXT_MAX;
use crate::redact::{REDACTED, header_value, hidden_in_header, query, query_values};

/// Fields of gRPC calls that are the protocol's and not the application's, beside pseudo-fields.
const GRPC_FIELDS: [&str; 16] = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-message-type",
    "grpc-status",
    "grpc-timeout",
    "server",
    "te",
    "traceparent",
    "user-agent",
];

#[derive(Clone)]
pub(super) struct Redaction {
    headers: Arc<[String]>,
    keep_literals: bool,
}

impl Redaction {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { headers: settings.redact_headers.clone(), keep_literals: settings.keep_literals }
    }

    /// A value as it may be shown. What belongs to a name that was not seen may be a credential.
    pub(super) fn shown(&self, name: Option<&str>, value: &str, is_cut: bool) -> String {
        let mut shown = match name {
            None => REDACTED.to_owned(),
            Some(":path") => query(value).into_owned(),
            Some("grpc-message") if !self.keep_literals => REDACTED.to_owned(),
            Some(name) => header_value(name, value, &self.headers).into_owned(),
        };
        if is_cut && shown != REDACTED {
            shown.push_str(TRUNCATED);
        }
        shown
    }

    /// Whether the value is the application's, which gRPC calls do not show.
    pub(super) fn hides_metadata(&self, name: &str) -> bool {
        !self.keep_literals && !name.starts_with(':') && !GRPC_FIELDS.contains(&name)
    }

    /// The bytes of a value that `shown` takes out.
    pub(super) fn hidden(&self, name: Option<&str>, value: &[u8], is_grpc: bool) -> Vec<Range<usize>> {
        let whole = || std::iter::once(0..value.len()).collect();
        let kept = value.get(..TEXT_MAX).unwrap_or(value);
        let mut hidden: Vec<Range<usize>> = match name {
            None => return whole(),
            Some("grpc-message") if !self.keep_literals => return whole(),
            Some(name) if is_grpc && self.hides_metadata(name) => return whole(),
            Some(":path") => match std::str::from_utf8(kept) {
                Ok(path) => query_values(path),
                Err(_) if query_values(&String::from_utf8_lossy(kept)).is_empty() => Vec::new(),
                Err(_) => return whole(),
            },
            Some(name) => hidden_in_header(name, kept, &self.headers),
        };
        hidden.push(kept.len()..value.len());
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_values_show_what_the_values_show() {
        let settings = Settings { redact_headers: ["x-reef".to_owned()].into(), ..Settings::default() };
        let redaction = Redaction::new(&settings);
        for (name, value) in [
            (":path", "/cart?item=7&user=ann"),
            (":path", "/shop.Cart/Add"),
            ("authorization", "Bearer abc"),
            ("x-reef", "abc"),
            ("referer", "https://shop/a?token=abc"),
            ("grpc-message", "no item 7"),
            ("user-agent", "curl/8"),
        ] {
            let mut masked = value.as_bytes().to_vec();
            redaction
                .hidden(Some(name), value.as_bytes(), false)
                .into_iter()
                .for_each(|hidden| masked[hidden].fill(b'0'));
            let masked = String::from_utf8(masked).unwrap();
            let shown = |value: &str| redaction.shown(Some(name), value, false);
            assert_eq!(shown(&masked), shown(value), "{name}: {masked}");
            assert_eq!(masked == value, shown(value) == value, "{name}: {masked}");
        }
        assert_eq!(redaction.shown(None, "abc", false), REDACTED);
    }

    #[test]
    fn metadata_of_grpc_is_hidden_unless_literals_are_kept() {
        let redaction = |keep_literals| Redaction::new(&Settings { keep_literals, ..Settings::default() });
        assert!(redaction(false).hides_metadata("x-user") && !redaction(false).hides_metadata("grpc-timeout"));
        assert!(!redaction(true).hides_metadata("x-user"));
        assert_eq!(redaction(false).hidden(Some("x-user"), b"ann", true).first(), Some(&(0..3)));
        assert_eq!(redaction(true).shown(Some("grpc-message"), "no item 7", false), "no item 7");
    }
}
