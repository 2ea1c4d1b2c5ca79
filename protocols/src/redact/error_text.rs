//! Texts of errors without the values that servers put into them.

use super::REDACTED;

/// SQLSTATEs whose messages quote names of tables, columns, functions, constraints and databases, and no values.
const NAMING_CODES: [&str; 22] = [
    "23502", "23503", "23505", "23514", "23P01", "26000", "34000", "3D000", "3F000", "42501", "42701", "42702",
    "42703", "42704", "42710", "42712", "42883", "42P01", "42P02", "42P05", "42P06", "42P07",
];

/// Quotes in PostgreSQL's messages, in the languages that it speaks.
const QUOTES: [char; 7] = ['"', '\'', '«', '»', '„', '“', '”'];

/// The message of a PostgreSQL error as it may be shown. Quoted and parenthesised parts are values, unless `code` (SQLSTATE)
/// says that they are names. `routine` is the server's function that reported it: RAISE in PL/pgSQL has a text of its own;
/// empty: not known.
pub fn pgsql_error(code: &str, routine: &str, message: &str) -> String {
    if code.starts_with("P0") || routine == "exec_stmt_raise" {
        return REDACTED.to_owned();
    }
    if NAMING_CODES.contains(&code) && !routine.is_empty() {
        return message.to_owned();
    }
    let mut text = message.to_owned();
    // From the first to the last: a value may have quotes in it.
    replace_between(&mut text, &QUOTES, &QUOTES);
    replace_between(&mut text, &['('], &[')']);
    replace_numbers(&text)
}

/// The text of a Redis error as it may be shown: its code, and its message without quoted parts. Scripts have texts of their
/// own (`by_script`): their code alone stays.
pub fn redis_error(message: &str, by_script: bool) -> String {
    let (code, rest) = message.split_once(' ').unwrap_or((message, ""));
    let is_code =
        !code.is_empty() && code.len() <= 24 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if !is_code {
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
    let quotes = ['\'', '"', '`'];
    replace_between(&mut text, &quotes, &quotes);
    format!("{code} {text}")
}

/// Replaces what stands between the first opening and the last closing character, or the end where that is missing.
fn replace_between(text: &mut String, open: &[char], close: &[char]) {
    let Some((first, opening)) = text.char_indices().find(|(_, c)| open.contains(c)) else { return };
    let first = first + opening.len_utf8();
    let last = text.rfind(close).filter(|last| *last >= first).unwrap_or(text.len());
    text.replace_range(first..last, REDACTED);
}

fn replace_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        out.push_str(before);
        out.push('?');
        rest = number.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':'));
    }
    out.push_str(rest);
    out
}
