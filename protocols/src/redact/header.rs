//! Headers without the values that are credentials.

use std::borrow::Cow;
use std::ops::Range;

use super::REDACTED;
use super::url::{in_text, values_in_text};
use crate::mask::fill;

/// Headers whose values are credentials, in lower case.
const CREDENTIAL_HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "proxy-authentication-info",
    "www-authenticate",
    "proxy-authenticate",
    "cookie",
    "set-cookie",
];

/// Parts of names that custom headers with credentials have, in lower case.
const CREDENTIAL_WORDS: [&str; 14] = [
    "api-key",
    "apikey",
    "access-key",
    "auth-key",
    "authorization",
    "cookie",
    "credential",
    "password",
    "passwd",
    "secret",
    "session",
    "signature",
    "token",
    "client-cert",
];

/// The value of a header as it may be shown. Values of credentials, and of headers in `redacted` (without regard to case, `*`
/// at the end of a name stands for any rest), are replaced wholly; in all others the values of URLs' queries are.
pub fn header_value<'a>(name: &str, value: &'a str, redacted: &[String]) -> Cow<'a, str> {
    if is_redacted(name, redacted) { Cow::Borrowed(REDACTED) } else { in_text(value) }
}

/// Overwrites in a header's value what `header_value` does not show.
pub(crate) fn mask_header_value(name: &str, value: &mut [u8], redacted: &[String]) {
    let hidden = hidden_in_header(name, value, redacted);
    hidden.into_iter().for_each(|hidden| fill(value.get_mut(hidden).unwrap_or_default()));
}

/// The bytes of a header's value that `header_value` does not show.
pub(crate) fn hidden_in_header(name: &str, value: &[u8], redacted: &[String]) -> Vec<Range<usize>> {
    let whole = || std::iter::once(0..value.len()).collect();
    if is_redacted(name, redacted) {
        return whole();
    }
    match std::str::from_utf8(value).map(values_in_text) {
        Ok(hidden) => hidden,
        // What is no text is shown as it is, unless there is a URL in it.
        Err(_) if values_in_text(&String::from_utf8_lossy(value)).is_empty() => Vec::new(),
        Err(_) => whole(),
    }
}

fn is_redacted(name: &str, redacted: &[String]) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let is_listed = redacted.iter().any(|pattern| matches_name(&pattern.to_ascii_lowercase(), &name));
    is_listed || is_credential(&name)
}

fn is_credential(name: &str) -> bool {
    CREDENTIAL_HEADERS.contains(&name)
        || name.ends_with("-auth")
        || name.ends_with("-key") && !matches!(name, "sec-websocket-key" | "idempotency-key" | "surrogate-key")
        || CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
}

fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.trim().strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern.trim() == name,
    }
}
