//! What of a message's bytes may be kept on a disk: start lines and headers without the values that are redacted, no content but
//! what is kept of a body.

use super::head::{request_line, trimmed};
use crate::mask::{fill, fill_line, line_end};
use crate::redact;

/// What the parser has understood last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing of it is shown.
    #[default]
    Nothing,
    /// An empty line, or the line end behind a chunk.
    LineEnd,
    StartLine,
    HeaderLine,
    /// A line that begins with the size of a chunk.
    ChunkSize,
    /// A line of which nothing is shown.
    HiddenLine,
    /// A part of a body, of which the first bytes are kept.
    Content {
        kept: usize,
    },
}

/// Overwrites what rows do not show.
pub(super) fn mask(taken: Taken, bytes: &mut [u8], redacted: &[String]) {
    match taken {
        Taken::Nothing => fill(bytes),
        Taken::LineEnd => {}
        Taken::StartLine => mask_start_line(bytes),
        Taken::HeaderLine => mask_header(bytes, redacted),
        Taken::ChunkSize => {
            let digits = bytes.iter().position(|byte| *byte == b';').map_or(bytes.len(), |end| end + 1);
            fill_line(bytes.get_mut(digits..).unwrap_or_default());
        }
        Taken::HiddenLine => fill_line(bytes),
        Taken::Content { kept } => fill(bytes.get_mut(kept..).unwrap_or_default()),
    }
}

/// A status line is shown as it is.
fn mask_start_line(line: &mut [u8]) {
    let Some(request) = request_line(trimmed(line)) else { return };
    let start = request.method.len() + 1;
    let end = start + request.target.len();
    let hidden = match std::str::from_utf8(request.target) {
        Ok(target) => redact::query_values(target),
        Err(_) if redact::query_values(&String::from_utf8_lossy(request.target)).is_empty() => return,
        Err(_) => std::iter::once(0..request.target.len()).collect(),
    };
    let target = line.get_mut(start..end).unwrap_or_default();
    hidden.into_iter().for_each(|hidden| fill(target.get_mut(hidden).unwrap_or_default()));
}

/// What is no field, or goes on with one, is overwritten.
fn mask_header(line: &mut [u8], redacted: &[String]) {
    let is_folded = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let Some(colon) = line.iter().position(|byte| *byte == b':').filter(|_| !is_folded) else {
        let blanks = usize::from(is_folded);
        return fill_line(line.get_mut(blanks..).unwrap_or_default());
    };
    let end = line.len() - line_end(line);
    let (name, rest) = line.split_at_mut(colon);
    let frames = |framing: &str| name.trim_ascii().eq_ignore_ascii_case(framing.as_bytes());
    if frames("content-length") || frames("transfer-encoding") {
        return;
    }
    let value = rest.get_mut(1..end.saturating_sub(colon)).unwrap_or_default();
    let blanks = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let value = value.get_mut(blanks..).unwrap_or_default();
    let length = value.trim_ascii_end().len();
    let value = value.get_mut(..length).unwrap_or_default();
    redact::mask_header_value(&String::from_utf8_lossy(name), value, redacted);
}
