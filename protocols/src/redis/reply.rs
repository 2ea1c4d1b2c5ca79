//! What is shown of a reply: its type and size, texts of errors and of known states. Values only if payloads are kept.

use super::value::{Leaf, Value};
use crate::redact;

/// Texts that Redis itself answers with.
const STATES: [&str; 12] = [
    "OK",
    "PONG",
    "QUEUED",
    "RESET",
    "none",
    "string",
    "list",
    "set",
    "zset",
    "hash",
    "stream",
    "Background saving started",
];

/// Redis itself answers so.
pub(super) fn is_state(text: &[u8]) -> bool {
    STATES.iter().any(|state| state.as_bytes() == text)
}

/// As Pixie prints it.
const NULL: &str = "<NULL>";

/// The reply of a command as it may be shown. `by_script`: errors may be a script's own.
pub(super) fn describe(value: &Value, by_script: bool, payload_bytes: usize) -> String {
    if let Some(error) = error_of(value) {
        return redact::redis_error(&String::from_utf8_lossy(&error.text), by_script);
    }
    if value.is_null {
        return NULL.to_owned();
    }
    if payload_bytes > 0 {
        return payload(value, payload_bytes);
    }
    // Attributes stand before the value.
    let length = value.leaves.last().map_or(0, |leaf| leaf.length);
    let count = value.count.unwrap_or(value.leaf_count);
    match value.kind {
        b'+' => {
            let text = value.leaves.last().map(|leaf| String::from_utf8_lossy(&leaf.text)).unwrap_or_default();
            if is_state(text.as_bytes()) { text.into_owned() } else { redact::REDACTED.to_owned() }
        }
        b':' => "integer".to_owned(),
        b',' => "double".to_owned(),
        b'(' => "big number".to_owned(),
        b'#' => "boolean".to_owned(),
        b'%' => format!("map ({count})"),
        b'~' => format!("set ({count})"),
        b'>' => format!("push ({count})"),
        b'*' => format!("array ({count})"),
        _ => format!("string ({length} bytes)"),
    }
}

/// The reply is an error.
pub(super) fn error_of(value: &Value) -> Option<&Leaf> {
    matches!(value.kind, b'-' | b'!').then(|| value.leaves.last()).flatten()
}

/// Strings and numbers as Pixie prints them; those of inner arrays stand among the others.
fn payload(value: &Value, max: usize) -> String {
    let text = |leaf: &Leaf| match leaf.is_null {
        true => NULL.to_owned(),
        false => String::from_utf8_lossy(&leaf.text).into_owned(),
    };
    let mut out = match value.kind {
        b'*' | b'%' | b'~' | b'>' => {
            let leaves: Vec<String> = value.leaves.iter().map(|leaf| format!("{:?}", text(leaf))).collect();
            format!("[{}]", leaves.join(","))
        }
        _ => value.leaves.last().map(text).unwrap_or_default(),
    };
    let end = (0..=max.min(out.len())).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
    out.truncate(end);
    out
}

/// `1700000000.123456 [0 127.0.0.1:6379] "GET" "a"`
pub(super) fn is_monitor_line(leaf: &Leaf) -> bool {
    let digits = leaf.text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    digits > 10 && leaf.text.get(digits..).is_some_and(|rest| rest.starts_with(b" ["))
}
