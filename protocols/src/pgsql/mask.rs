//! What of a message's bytes may be kept on a disk: lengths, names of prepared statements, statements without their literals,
//! error messages without values; no rows, parameters, passwords or names of columns.

use super::message::{STARTUP, Taken};
use super::server_error::ServerError;
use super::wire::{Sender, text_of};
use crate::mask::{fill, fill_texts};
use crate::redact::{SqlDialect, mask_sql};

/// Bytes of a description of a column behind its name.
const COLUMN_BYTES: usize = 18;

/// Overwrites what rows do not show.
pub(super) fn mask(taken: Taken, sender: Sender, keep_literals: bool, bytes: &mut [u8]) {
    let body = bytes.get_mut(taken.header..).unwrap_or_default();
    match (sender, taken.kind) {
        // Names, formats, types and counts.
        (Sender::Client, b'E' | b'D' | b'C' | b'S' | b'H' | b'X' | b'c') => {}
        (Sender::Server, b'C' | b'Z' | b'1' | b'2' | b'3' | b'n' | b't' | b's' | b'I' | b'G' | b'H' | b'W' | b'c') => {}
        // How a text goes on depends on its beginning.
        _ if !taken.is_beginning => fill(body),
        (Sender::Client, STARTUP) => fill_texts(body.get_mut(4..).unwrap_or_default()),
        (Sender::Client, b'Q') if !keep_literals => mask_statement(body),
        (Sender::Client, b'P') if !keep_literals => mask_statement(behind_texts(body, 1)),
        (Sender::Client, b'Q' | b'P') => {}
        (Sender::Client, b'B') => fill(behind_texts(body, 2)),
        (Sender::Client, b'f') => fill_texts(body),
        (Sender::Server, b'R') => fill(body.get_mut(4..).unwrap_or_default()),
        (Sender::Server, b'S') => fill_texts(body),
        (Sender::Server, b'E') => mask_fields(body, true, keep_literals),
        (Sender::Server, b'N') => mask_fields(body, false, false),
        (Sender::Server, b'D') => mask_row(body),
        (Sender::Server, b'T') => mask_columns(body),
        _ => fill(body),
    }
}

/// A statement, up to its NUL.
fn mask_statement(body: &mut [u8]) {
    let length = text_of(body).0.len();
    mask_sql(body.get_mut(..length).unwrap_or_default(), SqlDialect::Postgres);
}

/// What stands behind so many texts.
fn behind_texts(body: &mut [u8], texts: usize) -> &mut [u8] {
    let ends = body.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at + 1);
    let start = ends.take(texts).nth(texts - 1).unwrap_or(body.len());
    body.get_mut(start..).unwrap_or_default()
}

/// Fields of an error or a notice: a type and a text each. Of a notice the types stay.
fn mask_fields(body: &mut [u8], is_error: bool, keep_literals: bool) {
    let error = ServerError::parse(body);
    let mut rest = body;
    while let Some((field, behind)) = std::mem::take(&mut rest).split_first_mut()
        && *field != 0
    {
        let length = text_of(behind).0.len();
        let (text, next) = behind.split_at_mut(length);
        match field {
            b'S' | b'V' | b'C' | b'R' if is_error => {}
            b'M' | b'D' if is_error && keep_literals => {}
            b'M' if is_error => error.mask_message(text),
            _ => fill(text),
        }
        rest = next.get_mut(1..).unwrap_or_default();
    }
}

/// A number of values; a length and the value each. -1 stands for NULL.
fn mask_row(body: &mut [u8]) {
    let mut rest = body.get_mut(2..).unwrap_or_default();
    while rest.len() >= 4 {
        let (length, behind) = std::mem::take(&mut rest).split_at_mut(4);
        let length = length.first_chunk().map_or(0, |length| i32::from_be_bytes(*length));
        let length = usize::try_from(length).unwrap_or(0).min(behind.len());
        let (value, next) = behind.split_at_mut(length);
        fill(value);
        rest = next;
    }
    // The beginning of a length.
    fill(rest);
}

/// A number of columns; a name and numbers each.
fn mask_columns(body: &mut [u8]) {
    let mut rest = body.get_mut(2..).unwrap_or_default();
    while !rest.is_empty() {
        let length = text_of(rest).0.len();
        let (name, behind) = std::mem::take(&mut rest).split_at_mut(length);
        fill(name);
        rest = behind.get_mut(1 + COLUMN_BYTES..).unwrap_or_default();
    }
}
