//! What of a value's bytes may be kept on a disk: types and lengths, a command's name and keys, texts of known states and errors.
//! Strings are overwritten in their length, digits of numbers become 0.

use super::arguments;
use super::reply::{is_monitor_line, is_state};
use super::value::{INLINE, Leaf, Piece, Value};
use crate::mask::{FILL, fill, line_end};
use crate::redact::mask_redis_error;

/// First words of published messages and of confirmations.
const PUBLISHING: [&[u8]; 9] = [
    b"message",
    b"pmessage",
    b"smessage",
    b"subscribe",
    b"unsubscribe",
    b"psubscribe",
    b"punsubscribe",
    b"ssubscribe",
    b"sunsubscribe",
];

/// What of a piece may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Taken {
    #[default]
    Nothing,
    Everything,
    /// A part of a line whose value is not shown.
    Line {
        is_first: bool,
    },
    /// The first bytes of a text, and what stands behind the text.
    Text {
        shown: usize,
        text: usize,
    },
    /// An inline command, with a bit for each word that is shown.
    Words(u64),
    Digits,
    Boolean,
    State,
    Error {
        by_script: bool,
    },
    ErrorText {
        by_script: bool,
        text: usize,
    },
}

/// What is known of the reply.
#[derive(Clone, Copy)]
pub(super) struct Shows {
    pub(super) by_script: bool,
    pub(super) payload_bytes: usize,
    pub(super) published: bool,
    pub(super) confirms: bool,
}

pub(super) fn of_command(piece: Piece, value: &Value, keep_literals: bool) -> Taken {
    match piece {
        Piece::Line { kind: INLINE, is_first: true, is_last: true } => Taken::Words(shown_words(value, keep_literals)),
        Piece::Line { kind: INLINE, .. } => Taken::Line { is_first: false },
        Piece::Line { .. } => Taken::Everything,
        Piece::String { text, .. } => {
            Taken::Text { shown: if arguments::shows_last(value, keep_literals) { text } else { 0 }, text }
        }
    }
}

fn shown_words(value: &Value, keep_literals: bool) -> u64 {
    let mut words = 0;
    for index in 0..value.leaves.len().min(64) {
        let leaves: Vec<Leaf> = value.leaves.iter().take(index + 1).cloned().collect();
        let so_far = Value { leaf_count: leaves.len() as u64, leaves, count: Some(value.leaf_count), ..value.clone() };
        words |= u64::from(arguments::shows_last(&so_far, keep_literals)) << index;
    }
    words
}

pub(super) fn of_reply(piece: Piece, value: &Value, word: &[u8], shows: Shows) -> Taken {
    let Shows { by_script, payload_bytes, published, confirms } = shows;
    match piece {
        Piece::Line { kind: b'$' | b'*' | b'%' | b'~' | b'>' | b'|' | b';' | b'.' | b'=' | b'!' | b'_', .. } => {
            Taken::Everything
        }
        Piece::Line { kind: b'-', is_first: true, is_last: true } => Taken::Error { by_script },
        Piece::Line { kind: b'-', is_first, .. } => Taken::Line { is_first },
        Piece::Line { .. } if payload_bytes > 0 => Taken::Everything,
        Piece::Line { kind: b':', .. } if confirms => Taken::Everything,
        Piece::Line { kind: b':' | b',' | b'(', .. } => Taken::Digits,
        Piece::Line { kind: b'#', .. } => Taken::Boolean,
        Piece::Line { kind: b'+', is_first: true, is_last: true } => Taken::State,
        Piece::Line { is_first, .. } => Taken::Line { is_first },
        Piece::String { kind, from, text } => {
            let index = value.leaf_count.saturating_sub(1);
            let is_whole = from == 0 && value.leaves.last().is_some_and(|leaf| leaf.length == text as u64);
            let channel = if word == b"pmessage" { 2 } else { 1 };
            match kind {
                b'!' if is_whole => Taken::ErrorText { by_script, text },
                b'!' => Taken::Text { shown: 0, text },
                _ if index == 0 && PUBLISHING.iter().any(|known| known.starts_with(word)) => {
                    Taken::Text { shown: text, text }
                }
                _ if published && index == channel => Taken::Text { shown: text, text },
                _ => {
                    let before = usize::try_from(from).unwrap_or(usize::MAX);
                    Taken::Text { shown: payload_bytes.saturating_sub(before), text }
                }
            }
        }
    }
}

/// Overwrites what rows do not show.
pub(super) fn mask(taken: Taken, bytes: &mut [u8]) {
    match taken {
        Taken::Nothing => fill(bytes),
        Taken::Everything => {}
        Taken::Line { is_first } => {
            // The end of a line may come in two pieces.
            let text = bytes.iter_mut().skip(is_first.into()).filter(|byte| !matches!(byte, b'\r' | b'\n'));
            text.for_each(|byte| *byte = FILL);
        }
        Taken::Text { shown, text } => fill(bytes.get_mut(shown.min(text)..text).unwrap_or_default()),
        Taken::Words(shown) => {
            let is_blank = |byte: &u8| byte.is_ascii_whitespace();
            let words = bytes.split_mut(is_blank).filter(|word| !word.is_empty());
            words.enumerate().filter(|(at, _)| *at > 63 || shown >> at & 1 == 0).for_each(|(_, word)| fill(word));
        }
        Taken::Digits => zero(bytes),
        Taken::Boolean => bytes.iter_mut().filter(|byte| **byte == b'f').for_each(|byte| *byte = b't'),
        Taken::State => mask_state(bytes),
        Taken::Error { by_script } => mask_redis_error(behind_type(bytes), by_script),
        Taken::ErrorText { by_script, text } => mask_redis_error(bytes.get_mut(..text).unwrap_or_default(), by_script),
    }
}

/// A line without its type and its end.
fn behind_type(line: &mut [u8]) -> &mut [u8] {
    let end = line.len() - line_end(line);
    line.get_mut(1..end).unwrap_or_default()
}

fn zero(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'0');
}

/// A line of MONITOR stays one.
fn mask_state(line: &mut [u8]) {
    let text = behind_type(line);
    if is_state(text) {
        return;
    }
    let leaf = Leaf { kind: b'+', text: text.to_vec(), length: text.len() as u64, is_null: false };
    match text.iter().position(|byte| *byte == b'[').filter(|_| is_monitor_line(&leaf)) {
        Some(bracket) => {
            let (time, rest) = text.split_at_mut(bracket + 1);
            zero(time);
            fill(rest);
        }
        None => fill(text),
    }
}
