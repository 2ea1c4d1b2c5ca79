//! Strings: '..', "..", and both thrice; raw with the prefix r.

use super::cursor::Cursor;
use crate::error::{Errors, Refused};

/// Prefixes that Python has. Bytes and formatted strings are not part of PxL.
pub(super) fn prefix_length(rest: &str) -> Option<usize> {
    let letters = rest.bytes().take(3).take_while(|byte| b"rRbBuUfF".contains(byte)).count();
    let quoted = rest.as_bytes().get(letters).is_some_and(|byte| matches!(byte, b'\'' | b'"'));
    (quoted && letters <= 2).then_some(letters)
}

/// Reads a string, whose prefix has this length.
pub(super) fn read(cursor: &mut Cursor<'_>, prefix: usize, errors: &mut Errors) -> Result<String, Refused> {
    let begin = cursor.position();
    let letters = cursor.rest().get(..prefix).unwrap_or_default().to_ascii_lowercase();
    cursor.skip(prefix);
    let quote = cursor.peek().unwrap_or('\'');
    let thrice = if quote == '"' { "\"\"\"" } else { "'''" };
    let is_long = cursor.starts_with(thrice);
    cursor.skip(if is_long { 3 } else { 1 });
    let text = contents(cursor, quote, is_long.then_some(thrice), letters.contains('r'));
    if letters.contains('f') {
        return Err(errors.refuse(begin, "formatted strings (f'..') are not supported; join texts with '+'"));
    }
    if letters.contains('b') {
        return Err(errors.refuse(begin, "bytes (b'..') are not supported; write a string"));
    }
    text.ok_or_else(|| errors.refuse(begin, format!("the string that begins with {quote} here is never closed")))
}

/// What stands between the quotes; none if they are not closed.
fn contents(cursor: &mut Cursor<'_>, quote: char, thrice: Option<&str>, is_raw: bool) -> Option<String> {
    let mut text = String::new();
    loop {
        match thrice {
            Some(thrice) if cursor.starts_with(thrice) => {
                cursor.skip(3);
                return Some(text);
            }
            None if cursor.peek() == Some(quote) => {
                cursor.skip(1);
                return Some(text);
            }
            None if matches!(cursor.peek(), Some('\n' | '\r')) => return None,
            _ => {}
        }
        match cursor.bump()? {
            '\\' if is_raw => {
                text.push('\\');
                text.extend(cursor.bump());
            }
            '\\' => escaped(cursor, &mut text)?,
            character => text.push(character),
        }
    }
}

/// Adds what a backslash and the next characters stand for.
fn escaped(cursor: &mut Cursor<'_>, text: &mut String) -> Option<()> {
    let character = cursor.bump()?;
    match character {
        '\n' => {}
        '\\' | '\'' | '"' => text.push(character),
        'n' => text.push('\n'),
        't' => text.push('\t'),
        'r' => text.push('\r'),
        '0' => text.push('\0'),
        'a' => text.push('\u{7}'),
        'b' => text.push('\u{8}'),
        'f' => text.push('\u{c}'),
        'v' => text.push('\u{b}'),
        'x' => by_number(cursor, 2, character, text),
        'u' => by_number(cursor, 4, character, text),
        'U' => by_number(cursor, 8, character, text),
        // Python keeps the backslash of what it does not know: '\d' is a regular expression's.
        _ => text.extend(['\\', character]),
    }
    Some(())
}

fn by_number(cursor: &mut Cursor<'_>, digits: usize, letter: char, text: &mut String) {
    let number = cursor.rest().get(..digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match number.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
        Some(character) => {
            cursor.skip(digits);
            text.push(character);
        }
        None => text.extend(['\\', letter]),
    }
}
