//! Strings as protojson prints them, with more characters escaped.

use std::io::Write;

use trilobite_untrusted_text::is_unprintable;

/// Appends text in quotes, and replaces invalid UTF-8. Beside quotes, backslashes and controls it escapes what a terminal obeys
/// or does not show, e.g. bidirectional overrides; readers of JSON get the same text.
pub(super) fn append(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => append_escaped(text, out),
        Err(_) => append_escaped(&String::from_utf8_lossy(bytes), out),
    }
}

fn append_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    out.push(b'"');
    while let Some((at, letter)) = first_escaped(rest) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        append_escape(letter, out);
        rest = &rest[at + letter.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

fn append_escape(letter: char, out: &mut Vec<u8>) {
    let short = match letter {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\t' => b't',
        '\n' => b'n',
        '\u{c}' => b'f',
        '\r' => b'r',
        letter => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // A Vec never refuses to be written to.
                let _ = write!(out, "\\u{unit:04x}");
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The first character that has to be escaped, and its index.
fn first_escaped(text: &str) -> Option<(usize, char)> {
    let mut from = 0;
    loop {
        let at = from + first_candidate(&text.as_bytes()[from..])?;
        let letter = text[at..].chars().next()?;
        if letter.is_ascii() || is_unprintable(letter) {
            return Some((at, letter));
        }
        from = at + letter.len_utf8();
    }
}

/// Index of the first byte that has to be escaped, or begins a character beyond ASCII. Looks at eight bytes at a time.
fn first_candidate(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is below `limit`; exact up to the first such byte, which is all that is asked.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let found = below(word, b' ') | equal(word, b'"') | equal(word, b'\\') | equal(word, 0x7f) | (word & HIGH);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_candidate = |byte: &u8| matches!(byte, 0..b' ' | b'"' | b'\\' | 0x7f..);
    bytes[at..].iter().position(is_candidate).map(|found| at + found)
}
