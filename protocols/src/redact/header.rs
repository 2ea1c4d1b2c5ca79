//! Headers without the values that are credentials.

use std::borrow::Cow;

use super::REDACTED;
use super::url::in_text;

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
    let name = name.trim().to_ascii_lowercase();
    let is_listed = redacted.iter().any(|pattern| matches_name(&pattern.to_ascii_lowercase(), &name));
    if is_listed || is_credential(&name) {
        return Cow::Borrowed(REDACTED);
    }
    in_text(value)
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
