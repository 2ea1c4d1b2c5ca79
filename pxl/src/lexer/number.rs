//! Numbers: decimal, 0x, 0o, 0b, with fraction and exponent.

use super::{cursor::Cursor, token::TokenKind};
use crate::error::{Errors, Refused, quote};

pub(super) fn read<'a>(cursor: &mut Cursor<'a>, errors: &mut Errors) -> Result<TokenKind<'a>, Refused> {
    let (begin, offset) = (cursor.position(), cursor.offset());
    let radix = match cursor.rest().as_bytes() {
        [b'0', b'x' | b'X', ..] => 16,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'b' | b'B', ..] => 2,
        _ => 10,
    };
    if radix != 10 {
        cursor.skip(2);
        cursor.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let digits: String = cursor.since(offset).chars().skip(2).filter(|c| *c != '_').collect();
        return match i64::from_str_radix(&digits, radix) {
            Ok(number) => Ok(TokenKind::Integer(number)),
            Err(_) => Err(errors.refuse(begin, format!("{} is not a number of 64 bits", quote(cursor.since(offset))))),
        };
    }
    let is_digit = |c: char| c.is_ascii_digit() || c == '_';
    cursor.skip_while(is_digit);
    let mut is_float = false;
    if cursor.peek() == Some('.') {
        is_float = true;
        cursor.skip(1);
        cursor.skip_while(is_digit);
    }
    if matches!(cursor.peek(), Some('e' | 'E')) {
        let after_sign = cursor.rest().trim_start_matches(['e', 'E']).trim_start_matches(['+', '-']);
        if after_sign.starts_with(|c: char| c.is_ascii_digit()) {
            is_float = true;
            cursor.skip(if matches!(cursor.peek_second(), Some('+' | '-')) { 2 } else { 1 });
            cursor.skip_while(is_digit);
        }
    }
    cursor.skip_while(|c| c.is_alphanumeric() || c == '_');
    let written = cursor.since(offset);
    let digits: String = written.chars().filter(|c| *c != '_').collect();
    let number = if is_float {
        digits.parse().ok().filter(|number: &f64| number.is_finite()).map(TokenKind::Float)
    } else {
        digits.parse().ok().map(TokenKind::Integer)
    };
    number.ok_or_else(|| errors.refuse(begin, format!("{} is not a number of 64 bits", quote(written))))
}
