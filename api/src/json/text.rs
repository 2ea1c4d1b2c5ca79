//! Strings as protojson prints them.

use std::io::Write;

/// Appends text in quotes. Escapes quotes, backslashes and control characters alone, and replaces invalid UTF-8.
pub(super) fn append(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => append_escaped(text, out),
        Err(_) => append_escaped(&String::from_utf8_lossy(bytes), out),
    }
}

fn append_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.push(b'"');
    while let Some(at) = first_escaped(rest) {
        out.extend_from_slice(&rest[..at]);
        let short = match rest[at] {
            byte @ (b'"' | b'\\') => byte,
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            byte => {
                // A Vec never refuses to be written to.
                let _ = write!(out, "\\u{byte:04x}");
                rest = &rest[at + 1..];
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Index of the first byte that has to be escaped. Looks at eight bytes at a time.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is below `limit`; exact up to the first such byte, which is all that is asked.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let found = below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_escaped = |byte: &u8| matches!(byte, 0..b' ' | b'"' | b'\\');
    bytes[at..].iter().position(is_escaped).map(|found| at + found)
}
