//! Signs of PostgreSQL in bytes that may begin anywhere: by them a connection is recognised, and found again after a gap.

use super::wire::{Sender, be32, header_of, is_startup_length, text_of};

/// Whether a message begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    No,
    /// There are too few bytes.
    More,
    Yes,
}

pub(super) const SSL_REQUEST: u32 = 80_877_103;
pub(super) const GSS_REQUEST: u32 = 80_877_104;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;

/// Bytes of a body that are looked at.
const WINDOW: usize = 64;
/// Longest message that is believed without its end: lengths of text begin with a letter and are far above.
const LENGTH_MAX: u32 = 64 << 20;
/// A name that is longer is none.
const NAME_MAX: u32 = 64;

/// A client's first message: startup, cancel request, request for encryption.
pub(super) fn startup(bytes: &[u8]) -> Sign {
    if bytes.iter().take(2).any(|byte| *byte != 0) {
        return Sign::No;
    }
    let (Some(length), Some(code)) = (be32(bytes, 0), be32(bytes, 4)) else { return Sign::More };
    match code {
        SSL_REQUEST | GSS_REQUEST if length == 8 => Sign::Yes,
        // PostgreSQL 18 has longer keys.
        CANCEL_REQUEST if (16..=12 + 256).contains(&length) => Sign::Yes,
        _ if code >> 16 == 3 && is_startup_length(length) => match bytes.get(8) {
            // A Kafka request has the same eight bytes, and then a number; here a parameter's name begins.
            Some(byte) if byte.is_ascii_lowercase() || *byte == b'_' => Sign::Yes,
            Some(0) if length == 9 => Sign::Yes,
            Some(_) => Sign::No,
            None => Sign::More,
        },
        _ => Sign::No,
    }
}

/// A server's first bytes after a request for encryption: one byte, and what follows it.
pub(super) fn answers_encryption_request(bytes: &[u8]) -> bool {
    match bytes {
        [b'S' | b'N' | b'G'] => true,
        [b'N', rest @ ..] => message(rest, Sender::Server) != Sign::No,
        // A TLS handshake.
        [b'S', 0x16, ..] => true,
        _ => false,
    }
}

/// A message whose type, length and body agree. Types whose body has no form (rows, COPY data, passwords) are never believed.
pub(super) fn message(bytes: &[u8], sender: Sender) -> Sign {
    let Some(kind) = bytes.first() else { return Sign::More };
    let forms = match sender {
        Sender::Client => client_body as fn(u8, u32, &[u8]) -> Sign,
        Sender::Server => server_body,
    };
    let is_known = match sender {
        Sender::Client => b"QPBEDSHCcfX".contains(kind),
        Sender::Server => b"RSKZTCEN123nstIc".contains(kind),
    };
    // The first byte of a length is 0 to 4: what is text is refused at its second byte.
    if !is_known || bytes.get(1).is_some_and(|byte| u32::from(*byte) > LENGTH_MAX >> 24) {
        return Sign::No;
    }
    let Some((kind, length)) = header_of(bytes) else { return Sign::More };
    if !(4..=LENGTH_MAX).contains(&length) {
        return Sign::No;
    }
    forms(kind, length, bytes.get(5..).unwrap_or_default())
}

fn client_body(kind: u8, length: u32, rest: &[u8]) -> Sign {
    match kind {
        b'S' | b'H' | b'X' | b'c' => sign(length == 4),
        b'Q' => texts(rest, length - 4, 1, 1),
        // A name, a statement, the parameters' types.
        b'P' => texts(rest, (length - 4).saturating_sub(2), 2, 0),
        b'B' if length >= 12 => texts(rest, (length - 4).saturating_sub(6), 2, 0),
        b'E' => ends_with_name(rest, length, 0, 4),
        b'D' | b'C' => match rest.first() {
            Some(b'S' | b'P') => ends_with_name(rest, length, 1, 0),
            Some(_) => Sign::No,
            None => Sign::More,
        },
        b'f' => texts(rest, length - 4, 1, 1),
        _ => Sign::No,
    }
}

fn server_body(kind: u8, length: u32, rest: &[u8]) -> Sign {
    match kind {
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => sign(length == 4),
        b'Z' if length == 5 => byte_in(rest, b"ITE"),
        b'K' => sign(length == 12),
        b'R' if (8..=4096).contains(&length) => match be32(rest, 0) {
            Some(code) => sign(code <= 12),
            None => Sign::More,
        },
        b'C' if (6..=80).contains(&length) => match byte_in(rest, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
            Sign::Yes => texts(rest, length - 4, 1, 1),
            other => other,
        },
        b'E' | b'N' if length > 12 => match byte_in(rest, b"S") {
            Sign::Yes => texts(rest.get(1..).unwrap_or_default(), (length - 5).min(WINDOW as u32), 2, 0),
            other => other,
        },
        b'S' if length < 4096 => texts(rest, length - 4, 2, 2),
        b't' => match rest {
            [high, low, ..] => sign(u32::from_be_bytes([0, 0, *high, *low]).checked_mul(4) == length.checked_sub(6)),
            _ => Sign::More,
        },
        b'T' => row_description(rest, length),
        _ => Sign::No,
    }
}

fn sign(is: bool) -> Sign {
    if is { Sign::Yes } else { Sign::No }
}

fn byte_in(rest: &[u8], allowed: &[u8]) -> Sign {
    rest.first().map_or(Sign::More, |byte| sign(allowed.contains(byte)))
}

/// A body of `length` bytes that begins with `least` texts, each ended by a NUL; `exactly` so many fill it, 0: more may follow.
fn texts(rest: &[u8], length: u32, least: usize, exactly: usize) -> Sign {
    let length = length as usize;
    let seen = rest.get(..rest.len().min(length).min(WINDOW)).unwrap_or_default();
    let mut ended = 0;
    for (index, byte) in seen.iter().enumerate() {
        match *byte {
            0 => ended += 1,
            b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80.. => {}
            _ => return Sign::No,
        }
        if exactly > 0 && ended == exactly {
            return sign(index + 1 == length);
        }
        if exactly == 0 && ended == least {
            return Sign::Yes;
        }
    }
    match seen.len() {
        // So much text behind a type and a plausible length is enough.
        WINDOW => Sign::Yes,
        len if len == length => Sign::No,
        _ => Sign::More,
    }
}

/// A message of `before` bytes, a name and `behind` bytes, e.g. Execute.
fn ends_with_name(rest: &[u8], length: u32, before: u32, behind: u32) -> Sign {
    let Some(name) = length.checked_sub(4 + before + behind).filter(|name| (1..=NAME_MAX).contains(name)) else {
        return Sign::No;
    };
    let (before, name) = (before as usize, name as usize);
    let seen = rest.get(before..rest.len().min(before + name)).unwrap_or_default();
    let (text, _) = text_of(seen);
    if !text.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80) || text.len() + 1 < seen.len() {
        return Sign::No;
    }
    match seen.len() == name {
        true => sign(text.len() + 1 == name),
        false if text.len() < seen.len() => Sign::No,
        false => Sign::More,
    }
}

/// Fields of a name and 18 bytes each.
fn row_description(rest: &[u8], length: u32) -> Sign {
    let [high, low, fields @ ..] = rest else { return Sign::More };
    let count = u32::from_be_bytes([0, 0, *high, *low]);
    if count > 1664 || length < 6 + 19 * count {
        return Sign::No;
    }
    if count == 0 {
        return sign(length == 6);
    }
    let seen = fields.get(..fields.len().min(WINDOW)).unwrap_or_default();
    let (name, behind) = text_of(seen);
    if !name.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte >= 0x80) {
        return Sign::No;
    }
    if name.len() == seen.len() {
        return if seen.len() == WINDOW { Sign::Yes } else { Sign::More };
    }
    match behind.get(16..18) {
        // The last two bytes of a field are its format: text or binary.
        Some(format) => sign(matches!(format, [0, 0 | 1])),
        None if seen.len() == WINDOW => Sign::Yes,
        None => Sign::More,
    }
}
