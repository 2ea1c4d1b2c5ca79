//! Texts of errors without the values that servers put into them.

use std::ops::Range;

use super::REDACTED;
use crate::mask::fill;

/// SQLSTATEs whose messages quote names of tables, columns, functions, constraints and databases, and no values.
const NAMING_CODES: [&str; 22] = [
    "23502", "23503", "23505", "23514", "23P01", "26000", "34000", "3D000", "3F000", "42501", "42701", "42702",
    "42703", "42704", "42710", "42712", "42883", "42P01", "42P02", "42P05", "42P06", "42P07",
];

/// Quotes in PostgreSQL's messages, in the languages that it speaks.
const QUOTES: [char; 7] = ['"', '\'', '«', '»', '„', '“', '”'];

/// Quotes in Redis's messages.
const REDIS_QUOTES: [char; 3] = ['\'', '"', '`'];

/// The message of a PostgreSQL error as it may be shown. Quoted and parenthesised parts are values, unless `code` (SQLSTATE)
/// says that they are names. `routine` is the server's function that reported it: RAISE in PL/pgSQL has a text of its own;
/// empty: not known.
pub fn pgsql_error(code: &str, routine: &str, message: &str) -> String {
    if is_of_a_program(code, routine) {
        return REDACTED.to_owned();
    }
    if quotes_names(code, routine) {
        return message.to_owned();
    }
    let mut text = message.to_owned();
    // From the first to the last: a value may have quotes in it.
    replace_between(&mut text, &QUOTES, &QUOTES);
    replace_between(&mut text, &['('], &[')']);
    replace_numbers(&text)
}

/// Overwrites in a message what `pgsql_error` does not show.
pub(crate) fn mask_pgsql_error(code: &str, routine: &str, message: &mut [u8]) {
    if is_of_a_program(code, routine) || std::str::from_utf8(message).is_err() {
        return fill(message);
    }
    if quotes_names(code, routine) {
        return;
    }
    mask_between(message, &QUOTES, &QUOTES);
    mask_between(message, &['('], &[')']);
    mask_numbers(message);
}

/// RAISE in PL/pgSQL has a text of its own.
fn is_of_a_program(code: &str, routine: &str) -> bool {
    code.starts_with("P0") || routine == "exec_stmt_raise"
}

/// What the message quotes are names.
fn quotes_names(code: &str, routine: &str) -> bool {
    NAMING_CODES.contains(&code) && !routine.is_empty()
}

/// The text of a Redis error as it may be shown: its code, and its message without quoted parts. Scripts have texts of their
/// own (`by_script`): their code alone stays.
pub fn redis_error(message: &str, by_script: bool) -> String {
    let (code, rest) = message.split_once(' ').unwrap_or((message, ""));
    if !is_code(code) {
        return REDACTED.to_owned();
    }
    if rest.is_empty() {
        return code.to_owned();
    }
    // `MOVED 3999 127.0.0.1:6381`: a slot and a node.
    if matches!(code, "MOVED" | "ASK") {
        return message.to_owned();
    }
    if by_script {
        return format!("{code} {REDACTED}");
    }
    let mut text = rest.to_owned();
    replace_between(&mut text, &REDIS_QUOTES, &REDIS_QUOTES);
    format!("{code} {text}")
}

/// Overwrites in a Redis error what `redis_error` does not show.
pub(crate) fn mask_redis_error(message: &mut [u8], by_script: bool) {
    let Ok(text) = std::str::from_utf8(message) else { return fill(message) };
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let behind_code = text.len() - rest.len();
    let hidden = match code {
        _ if !is_code(code) => 0..text.len(),
        "MOVED" | "ASK" => return,
        _ if by_script => behind_code..text.len(),
        _ => match between(rest, &REDIS_QUOTES, &REDIS_QUOTES) {
            Some(hidden) => behind_code + hidden.start..behind_code + hidden.end,
            None => return,
        },
    };
    fill(message.get_mut(hidden).unwrap_or_default());
}

fn is_code(code: &str) -> bool {
    !code.is_empty() && code.len() <= 24 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Replaces what stands between the first opening and the last closing character, or the end where that is missing.
pub(super) fn replace_between(text: &mut String, open: &[char], close: &[char]) {
    if let Some(hidden) = between(text, open, close) {
        text.replace_range(hidden, REDACTED);
    }
}

/// Overwrites what `replace_between` replaces.
pub(super) fn mask_between(message: &mut [u8], open: &[char], close: &[char]) {
    let hidden = std::str::from_utf8(message).ok().and_then(|text| between(text, open, close));
    fill(message.get_mut(hidden.unwrap_or_default()).unwrap_or_default());
}

fn between(text: &str, open: &[char], close: &[char]) -> Option<Range<usize>> {
    let (first, opening) = text.char_indices().find(|(_, c)| open.contains(c))?;
    let first = first + opening.len_utf8();
    let last = text.rfind(close).filter(|last| *last >= first).unwrap_or(text.len());
    Some(first..last)
}

pub(super) fn replace_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        out.push_str(before);
        out.push('?');
        rest = number.trim_start_matches(is_in_number);
    }
    out.push_str(rest);
    out
}

/// Overwrites what `replace_numbers` replaces.
pub(super) fn mask_numbers(message: &mut [u8]) {
    let mut in_number = false;
    for byte in message {
        in_number = byte.is_ascii_digit() || in_number && is_in_number(char::from(*byte));
        if in_number {
            *byte = b'0';
        }
    }
}

fn is_in_number(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':')
}
