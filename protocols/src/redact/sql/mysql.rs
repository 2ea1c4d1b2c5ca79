//! What begins a comment in MySQL, and comments whose text it executes.

use super::{Scanner, SqlDialect};

impl Scanner<'_> {
    /// A comment if a blank follows, else signs.
    pub(super) fn two_dashes(&mut self) {
        let dashes = self.run_length(0, |byte| byte == b'-');
        match (dashes, self.bytes.get(self.at + dashes)) {
            (2, None | Some(..=b' ')) => self.skip_line(),
            // What is shown would begin another comment.
            (_, None | Some(..=b' ' | b'/' | b'#' | b'*')) => self.replace_rest(),
            _ => {
                self.note_symbol(b'-');
                self.copy(dashes);
            }
        }
    }

    /// Bytes of `/*!` or `/*M!`; 0: none of them begins here.
    pub(super) fn executable_marker(&self) -> usize {
        match (self.byte(1), self.byte(2), self.byte(3)) {
            (b'*', b'!', _) => 3,
            (b'*', b'M', b'!') => 4,
            _ => 0,
        }
    }

    /// `/*!50003 text */`: the server's version decides whether the text is a comment. It is shown if a server that reads it and
    /// one that does not agree about what stands behind it.
    pub(super) fn open_executable_comment(&mut self) {
        let marker = self.executable_marker();
        let start = self.at + marker + self.run_length(marker, |byte| byte.is_ascii_digit());
        let rest = self.text.get(start..).unwrap_or_default();
        let agreed =
            rest.find("*/").and_then(|end| rest.get(..end)).is_some_and(|text| ends_plainly(text, self.dialect));
        if !agreed || self.in_executable {
            return self.replace_rest();
        }
        self.hide(self.at..start, true);
        self.at = start;
        self.blank = true;
        self.in_executable = true;
    }

    pub(super) fn close_executable_comment(&mut self) {
        self.hide(self.at..self.at + 2, true);
        self.at += 2;
        self.blank = true;
        self.in_executable = false;
    }
}

/// Whether no string, identifier or comment of the text goes on behind it.
fn ends_plainly(text: &str, dialect: SqlDialect) -> bool {
    let mut scanner = Scanner::new(text, dialect);
    while let Some(byte) = scanner.bytes.get(scanner.at) {
        let end = match byte {
            b'\'' | b'"' => scanner.string_end(dialect == SqlDialect::MySql),
            b'`' => {
                scanner.bytes.iter().skip(scanner.at + 1).position(|byte| *byte == b'`').map(|end| scanner.at + end + 2)
            }
            b'#' => None,
            b'-' | b'/' if matches!(scanner.byte(1), b'-' | b'*') => None,
            _ => Some(scanner.at + 1),
        };
        let Some(end) = end else { return false };
        scanner.at = end;
    }
    true
}
