//! SQL without its literals and comments: `WHERE name = 'x' AND id IN (1, 2)` -> `WHERE name = ? AND id IN (?, ?)`.

use std::ops::Range;

/// Differences between servers that matter to where a literal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlDialect {
    /// Double quotes are identifiers, `$tag$` quotes, comments nest.
    Postgres,
    /// Double quotes are strings, backticks are identifiers, backslashes escape, `#` begins a comment.
    MySql,
    /// The same, but whether backslashes escape is not known, or they do not (`NO_BACKSLASH_ESCAPES`).
    MySqlOfAnyMode,
}

impl SqlDialect {
    fn is_mysql(self) -> bool {
        matches!(self, Self::MySql | Self::MySqlOfAnyMode)
    }
}

/// A statement with `?` for each literal and without comments; runs of blanks become one. What it cannot tell apart with
/// certainty, e.g. a string that was cut, is taken for a part of the literal.
pub fn sql(text: &str, dialect: SqlDialect) -> String {
    let mut scanner = Scanner::new(text, dialect);
    while scanner.copy_token() {}
    scanner.out
}

/// Digits of the highest parameter number ($65535).
const PARAMETER_DIGITS: usize = 5;

/// A part of a statement that is not shown.
struct Hidden {
    range: Range<usize>,
    is_comment: bool,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: SqlDialect,
    out: String,
    /// A blank or a comment stands before the next token.
    blank: bool,
    setting: Setting,
    /// The last word was ESCAPE.
    after_escape: bool,
    /// In a comment whose text MySQL executes.
    in_executable: bool,
    /// Where literals and comments stand, if that is asked for.
    hidden: Option<Vec<Hidden>>,
}

/// `SET app.token = secret`: the value of a custom setting may be a literal without quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// At the beginning of a statement.
    Start,
    /// In ALTER ROLE or ALTER DATABASE, which may end in SET.
    Alter,
    /// Behind SET; whether the name has a dot so far.
    Name { custom: bool },
    /// Behind the `=` or TO of a custom setting.
    Value,
    /// In any other statement.
    None,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, dialect: SqlDialect) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            dialect,
            out: String::with_capacity(text.len().min(4096)),
            blank: false,
            setting: Setting::Start,
            after_escape: false,
            in_executable: false,
            hidden: None,
        }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Copies or replaces one token; `false` at the end.
    fn copy_token(&mut self) -> bool {
        let Some(&byte) = self.bytes.get(self.at) else { return false };
        let mysql = self.dialect.is_mysql();
        let escapes = self.dialect == SqlDialect::MySql;
        match byte {
            0 | b' ' | b'\t'..=b'\r' => {
                self.at += 1;
                self.blank = true;
            }
            b'-' if self.byte(1) == b'-' && mysql => self.two_dashes(),
            b'-' if self.byte(1) == b'-' => self.skip_line(),
            b'#' if mysql => self.skip_line(),
            b'/' if mysql && self.executable_marker() > 0 => self.open_executable_comment(),
            b'*' if self.in_executable && self.byte(1) == b'/' => self.close_executable_comment(),
            b'/' if self.byte(1) == b'*' => self.skip_block_comment(),
            b'\'' => self.replace_string(escapes),
            b'"' if mysql => self.replace_string(escapes),
            b'"' => self.copy_quoted(b'"'),
            b'`' if mysql => self.copy_quoted(b'`'),
            b'$' if !mysql => self.dollar(),
            b'0'..=b'9' => self.replace_number(),
            b'.' if self.byte(1).is_ascii_digit() => self.replace_number(),
            _ if is_word(byte) => self.word(),
            _ => {
                self.note_symbol(byte);
                self.copy(1);
            }
        }
        true
    }

    fn push(&mut self, text: &str) {
        if self.blank && !self.out.is_empty() {
            self.out.push(' ');
        }
        self.blank = false;
        self.out.push_str(text);
    }

    /// Copies the next `length` bytes, which end at a character's end.
    fn copy(&mut self, length: usize) {
        let end = (self.at + length).min(self.bytes.len());
        let token = self.text.get(self.at..end).unwrap_or_default();
        self.push(token);
        self.at = end;
    }

    fn replace(&mut self, end: usize) {
        self.push("?");
        let end = end.min(self.bytes.len());
        self.hide(self.at..end, false);
        self.at = end;
        self.after_escape = false;
        if self.setting == Setting::Start {
            self.setting = Setting::None;
        }
    }

    fn replace_rest(&mut self) {
        self.replace(self.bytes.len());
    }

    fn hide(&mut self, range: Range<usize>, is_comment: bool) {
        if let Some(hidden) = &mut self.hidden {
            hidden.push(Hidden { range, is_comment });
        }
    }

    fn skip_line(&mut self) {
        let start = self.at;
        while !matches!(self.byte(0), b'\n' | b'\r') && self.at < self.bytes.len() {
            self.at += 1;
        }
        self.hide(start..self.at, true);
        self.blank = true;
    }

    fn skip_block_comment(&mut self) {
        let start = self.at;
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            match (self.byte(0), self.byte(1)) {
                (b'/', b'*') if depth == 0 || self.dialect == SqlDialect::Postgres => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        break;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.at = self.at.min(self.bytes.len());
        self.hide(start..self.at, true);
        self.blank = true;
    }

    /// A string that begins here; `escapes`: a backslash takes the next character's meaning.
    fn replace_string(&mut self, escapes: bool) {
        match self.string_end(escapes) {
            Some(end) => self.replace(end),
            None => self.replace_rest(),
        }
    }

    /// The end of the string that begins here; none: it is cut, or where it ends depends on `standard_conforming_strings`.
    fn string_end(&self, escapes: bool) -> Option<usize> {
        let quote = self.byte(0);
        let mut at = self.at + 1;
        let mut backslashes = 0_usize;
        loop {
            let byte = *self.bytes.get(at)?;
            if byte == b'\\' {
                // In some character sets of MySQL a backslash is the second byte of a character.
                let before = self.bytes.get(..at).unwrap_or_default();
                if self.dialect.is_mysql() && before.ends_with("\u{fffd}".as_bytes()) {
                    return None;
                }
                backslashes += 1;
                at += if escapes { 2 } else { 1 };
                continue;
            }
            if byte == quote {
                let only_backslash = self.after_escape && at == self.at + 2 && !self.dialect.is_mysql();
                if !escapes && backslashes % 2 == 1 && !only_backslash {
                    return None;
                }
                if self.bytes.get(at + 1) != Some(&quote) {
                    return Some(at + 1);
                }
                at += 1;
            }
            backslashes = 0;
            at += 1;
        }
    }

    /// An identifier in quotes; what is not closed may be the rest of a string.
    fn copy_quoted(&mut self, quote: u8) {
        let mut at = self.at + 1;
        loop {
            match self.bytes.get(at) {
                None => return self.replace_rest(),
                Some(byte) if *byte == quote && self.bytes.get(at + 1) == Some(&quote) => at += 2,
                Some(byte) if *byte == quote => break,
                Some(_) => at += 1,
            }
        }
        if self.setting == Setting::Value {
            self.replace(at + 1);
        } else {
            self.copy(at + 1 - self.at);
            self.end_start();
        }
        self.after_escape = false;
    }

    /// `$1` is a parameter, `$tag$` begins a string.
    fn dollar(&mut self) {
        let digits = self.run_length(1, |byte| byte.is_ascii_digit());
        if (1..=PARAMETER_DIGITS).contains(&digits) {
            return self.copy(1 + digits);
        }
        if digits > 0 {
            return self.replace(self.at + 1 + digits);
        }
        let tag = self.run_length(1, is_word);
        let delimiter_end = self.at + 1 + tag;
        match self.bytes.get(delimiter_end) {
            Some(b'$') => {
                let delimiter = self.text.get(self.at..=delimiter_end).unwrap_or("$$");
                let behind = self.text.get(delimiter_end + 1..).unwrap_or_default();
                match behind.find(delimiter) {
                    Some(found) => self.replace(delimiter_end + 1 + found + delimiter.len()),
                    None => self.replace_rest(),
                }
            }
            // The tag may be cut.
            _ => self.replace(delimiter_end),
        }
    }

    fn run_length(&self, from: usize, is_in: impl Fn(u8) -> bool) -> usize {
        self.bytes.get(self.at + from..).unwrap_or_default().iter().take_while(|byte| is_in(**byte)).count()
    }

    /// What is attached to a number is a part of it: `1e-5`, `0x1F`, `1_000`, `12abc`.
    fn replace_number(&mut self) {
        let mut end = self.at;
        let decimal = !(self.byte(0) == b'0' && self.byte(1).is_ascii_alphabetic());
        while let Some(&byte) = self.bytes.get(end) {
            let before = self.bytes.get(end.wrapping_sub(1)).copied().unwrap_or(0);
            let next = self.bytes.get(end + 1).copied().unwrap_or(0);
            let exponent_sign = decimal
                && matches!(byte, b'+' | b'-')
                && end > self.at
                && matches!(before, b'e' | b'E')
                && next.is_ascii_digit();
            if !(is_word(byte) || byte == b'.' || exponent_sign) {
                break;
            }
            end += 1;
        }
        self.replace(end);
    }

    fn word(&mut self) {
        let dollar = |byte: u8| is_word(byte) || byte.is_ascii_digit() || byte == b'$';
        let length = self.run_length(0, dollar);
        let word = self.text.get(self.at..self.at + length).unwrap_or_default();
        if self.replace_prefixed(word) {
            return;
        }
        if self.setting == Setting::Value && !is_plain_value(word) {
            return self.replace(self.at + length);
        }
        self.after_escape = word.eq_ignore_ascii_case("escape");
        self.setting = self.setting_behind(word);
        self.copy(length);
    }

    /// `E'..'`, `B'..'`, `X'..'`, `N'..'` and `U&'..'`.
    fn replace_prefixed(&mut self, word: &str) -> bool {
        let Some(prefix) = word.bytes().next().filter(|_| word.len() == 1) else { return false };
        let (quote_at, escapes) = match prefix.to_ascii_lowercase() {
            b'e' => (1, true),
            b'b' | b'x' | b'n' => (1, self.dialect == SqlDialect::MySql),
            b'u' if self.byte(1) == b'&' => (2, false),
            _ => return false,
        };
        if self.byte(quote_at) != b'\'' {
            return false;
        }
        self.at += quote_at;
        self.after_escape = false;
        self.replace_string(escapes);
        true
    }

    fn setting_behind(&self, word: &str) -> Setting {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        match self.setting {
            Setting::Start if is("set") => Setting::Name { custom: false },
            Setting::Start if is("alter") => Setting::Alter,
            Setting::Alter if is("set") => Setting::Name { custom: false },
            Setting::Name { custom: true } if is("to") => Setting::Value,
            Setting::Start => Setting::None,
            other => other,
        }
    }

    fn note_symbol(&mut self, byte: u8) {
        self.setting = match (self.setting, byte) {
            (_, b';') => Setting::Start,
            (Setting::Name { .. }, b'.') => Setting::Name { custom: true },
            (Setting::Name { custom: true }, b'=') => Setting::Value,
            (Setting::Start, _) => Setting::None,
            (other, _) => other,
        };
        self.after_escape = false;
    }

    fn end_start(&mut self) {
        if self.setting == Setting::Start {
            self.setting = Setting::None;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_plain_value(word: &str) -> bool {
    ["on", "off", "true", "false", "default", "null"].iter().any(|plain| word.eq_ignore_ascii_case(plain))
}

mod mask;
mod mysql;

pub(crate) use mask::mask_sql;

#[cfg(test)]
mod tests;
