//! Where the text of a Query stands, and whether a text begins a statement.

use super::wire::{Sign, le16, length_encoded};

/// First words of statements.
const VERBS: [&str; 57] = [
    "alter",
    "analyze",
    "backup",
    "begin",
    "binlog",
    "call",
    "change",
    "check",
    "checksum",
    "commit",
    "create",
    "deallocate",
    "delete",
    "desc",
    "describe",
    "do",
    "drop",
    "execute",
    "explain",
    "flush",
    "get",
    "grant",
    "handler",
    "help",
    "insert",
    "install",
    "kill",
    "load",
    "lock",
    "optimize",
    "prepare",
    "purge",
    "release",
    "rename",
    "repair",
    "replace",
    "reset",
    "restart",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "set",
    "show",
    "shutdown",
    "signal",
    "start",
    "stop",
    "table",
    "truncate",
    "uninstall",
    "unlock",
    "update",
    "use",
    "values",
    "with",
    "xa",
];

/// Blanks before a statement beyond which it is not believed.
const BLANKS_MAX: usize = 128;
/// Most values before a statement that are believed.
const ATTRIBUTES_MAX: u64 = 64;

/// Whether `length` bytes, of which `seen` are there, begin a statement.
pub(super) fn begins_statement(seen: &[u8], length: usize) -> Sign {
    let seen = seen.get(..seen.len().min(length)).unwrap_or_default();
    let text = seen.strip_prefix(&[0, 1]).unwrap_or(seen);
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'(';
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let text = text.get(start..).unwrap_or_default();
    if text.starts_with(b"/*") || text.starts_with(b"-- ") {
        return Sign::Yes;
    }
    // The beginning of attributes or of a comment.
    if seen.len() < length && matches!(text, [0] | b"/" | b"-" | b"--") {
        return Sign::More;
    }
    let word = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let is_whole = word < text.len() || seen.len() == length;
    let word = text.get(..word).unwrap_or_default();
    let begins = |verb: &str| verb.as_bytes().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let is = |verb: &str| verb.len() == word.len() && begins(verb);
    match is_whole {
        true if VERBS.iter().any(|verb| is(verb)) => Sign::Yes,
        false if start < BLANKS_MAX && VERBS.iter().any(|verb| begins(verb)) => Sign::More,
        _ => Sign::No,
    }
}

/// Where the statement of a Query begins behind the command: attributes may stand before it (`CLIENT_QUERY_ATTRIBUTES`). No
/// statement begins with a number below 9, nor with a character that 1 follows. None: it is not among these bytes.
pub(super) fn statement_start(body: &[u8]) -> Option<usize> {
    let (Some((count, 1)), Some(1)) = (length_encoded(body), body.get(1)) else { return Some(0) };
    if count == 0 {
        return Some(2);
    }
    if count > ATTRIBUTES_MAX {
        return None;
    }
    let count = count as usize;
    let nulls = body.get(2..2 + count.div_ceil(8))?;
    // The flag that types follow.
    let mut at = 2 + nulls.len() + 1;
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        kinds.push(le16(body, at)? & 0xff);
        let (name, width) = length_encoded(body.get(at + 2..)?)?;
        at = at.checked_add(2 + width)?.checked_add(usize::try_from(name).ok()?)?;
    }
    for (index, kind) in kinds.into_iter().enumerate() {
        let is_null = nulls.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1);
        let length = match kind {
            _ if is_null => 0,
            6 => 0,
            1 => 1,
            2 | 13 => 2,
            3 | 4 | 9 => 4,
            5 | 8 => 8,
            7 | 10..=12 => 1 + usize::from(*body.get(at)?),
            _ => {
                let (text, width) = length_encoded(body.get(at..)?)?;
                width.checked_add(usize::try_from(text).ok()?)?
            }
        };
        at = at.checked_add(length)?;
    }
    (at <= body.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_begin_with_a_verb() {
        for (text, sign) in [
            (&b"SELECT 1"[..], Sign::Yes),
            (b"  (select 1)", Sign::Yes),
            (b"\0\x01show tables", Sign::Yes),
            (b"/* hello */ select 1", Sign::Yes),
            (b"begin", Sign::Yes),
            (b"selected", Sign::No),
            (b"\x05abc", Sign::No),
            (b"hello", Sign::No),
            (b"", Sign::No),
        ] {
            assert_eq!(begins_statement(text, text.len()), sign, "{}", text.escape_ascii());
            // What has not come yet may change it.
            for end in 0..text.len() {
                let begun = begins_statement(&text[..end], text.len());
                assert!(begun == sign || begun == Sign::More, "{} at {end}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn attributes_stand_before_the_statement() {
        assert_eq!(statement_start(b"SELECT 1"), Some(0));
        assert_eq!(statement_start(b"\0\x01SELECT 1"), Some(2));
        // Two attributes: a text and a NULL.
        let body = b"\x02\x01\x02\x01\xfd\0\x02id\x06\0\x01n\x05valueSELECT 1";
        assert_eq!(statement_start(body).map(|at| &body[at..]), Some(&b"SELECT 1"[..]));
        for end in 2..body.len() - 8 {
            assert_eq!(statement_start(&body[..end]), None, "{end}");
        }
    }
}
