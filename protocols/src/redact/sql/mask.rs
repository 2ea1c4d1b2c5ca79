//! Literals and comments of a statement overwritten in place: `sql` makes the same text of it, which has the same length.

use super::{Hidden, Scanner, SqlDialect};
use crate::mask::{FILL, fill};

/// Overwrites in a statement what `sql` does not show.
pub(crate) fn mask_sql(statement: &mut [u8], dialect: SqlDialect) {
    let Ok(text) = std::str::from_utf8(statement) else { return fill(statement) };
    let mut scanner = Scanner { hidden: Some(Vec::new()), ..Scanner::new(text, dialect) };
    while scanner.copy_token() {}
    for Hidden { range, is_comment } in scanner.hidden.unwrap_or_default() {
        let (before, behind) = statement.split_at_mut(range.start.min(statement.len()));
        let is_rest = range.len() == behind.len();
        let part = behind.get_mut(..range.len()).unwrap_or_default();
        match is_comment {
            true => part.fill(b' '),
            false if is_rest => mask_rest(before.last().copied(), part),
            false => mask_literal(part),
        }
    }
}

/// What ends a statement and is no string becomes one that is not closed, and no part of what stands before it.
fn mask_rest(before: Option<u8>, rest: &mut [u8]) {
    match rest {
        [first @ (b'/' | b'-' | b'`'), inside @ ..] => {
            *first = if before == Some(b'"') { b'\'' } else { b'"' };
            fill(inside);
        }
        _ => mask_literal(rest),
    }
}

/// It has to end where it ended, whatever stands behind it.
fn mask_literal(literal: &mut [u8]) {
    match literal {
        [quote @ (b'\'' | b'"'), inside @ ..] => {
            let kept = inside.len() - usize::from(inside.last() == Some(quote));
            fill(inside.get_mut(..kept).unwrap_or_default());
        }
        [b'$', ..] => mask_dollars(literal),
        [b'.', digits @ ..] => digits.fill(b'0'),
        [b'`', inside @ .., b'`'] => fill(inside),
        [b'0'..=b'9', ..] => literal.fill(b'0'),
        // A single x before a quote would begin a string of its own.
        _ => literal.fill(b'z'),
    }
}

/// `$tag$text$tag$`, or what may be the beginning of one.
fn mask_dollars(literal: &mut [u8]) {
    let tag = literal.iter().skip(1).position(|byte| *byte == b'$').map_or(literal.len(), |end| end + 2);
    let (delimiter, rest) = literal.split_at_mut(tag.min(literal.len()));
    let is_closed = rest.len() >= delimiter.len() && rest.ends_with(delimiter);
    if is_closed {
        let kept = rest.len() - delimiter.len();
        return fill(rest.get_mut(..kept).unwrap_or_default());
    }
    let filled = if delimiter.get(1).is_some_and(u8::is_ascii_digit) { b'0' } else { FILL };
    let ends = usize::from(delimiter.len() > 1 && delimiter.ends_with(b"$"));
    let inner = delimiter.len().saturating_sub(ends);
    delimiter.get_mut(1..inner).unwrap_or_default().fill(filled);
    fill(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::sql, *};

    fn masked(statement: &str, dialect: SqlDialect) -> String {
        let mut bytes = statement.as_bytes().to_vec();
        mask_sql(&mut bytes, dialect);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn literals_are_overwritten_where_they_stand() {
        for (statement, expected) in [
            ("SELECT 'it''s', 12.5e-3 FROM t -- secret", "SELECT 'xxxxx', 0000000 FROM t          "),
            ("SELECT $tag$secret$tag$, $1", "SELECT $tag$xxxxxx$tag$, $1"),
            ("SELECT E'a\\'secret', U&'secret'", "SELECT E'xxxxxxxxx', U&'xxxxxx'"),
            ("SET app.token = secret", "SET app.token = zzzzzz"),
            ("SELECT 'secret", "SELECT 'xxxxxx"),
            ("SELECT a.b, .5, \"Name\"", "SELECT a.b, .0, \"Name\""),
        ] {
            assert_eq!(masked(statement, SqlDialect::Postgres), expected);
        }
    }

    proptest! {
        #[test]
        fn masked_statement_is_shown_as_before(
            statement in "(?s)([a-z'\"$. 0-9éE(),;=-]|--|/\\*|\\*/|\\\\|\\$t\\$|SET a\\.b=|ESCAPE |'it''s'|U&'|\n){0,24}"
        ) {
            let masked = masked(&statement, SqlDialect::Postgres);
            prop_assert_eq!(masked.len(), statement.len());
            prop_assert_eq!(
                sql(&masked, SqlDialect::Postgres), sql(&statement, SqlDialect::Postgres), "{:?}", masked
            );
        }

        #[test]
        fn masked_statement_of_mysql_is_shown_as_before(
            statement in "(?s)([a-z'\"`#. 0-9é(),;=-]|--|-- |/\\*|/\\*!|/\\*M!1|\\*/|\\\\|x'|ESCAPE |'it''s'|\n){0,24}"
        ) {
            for dialect in [SqlDialect::MySql, SqlDialect::MySqlOfAnyMode] {
                let masked = masked(&statement, dialect);
                prop_assert_eq!(masked.len(), statement.len());
                prop_assert_eq!(sql(&masked, dialect), sql(&statement, dialect), "{:?}", masked);
            }
        }
    }
}
