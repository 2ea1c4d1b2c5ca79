//! What is wrong with a script, and where.

use std::fmt;

/// Refusals of one script that are reported.
const ERRORS_MAX: usize = 20;

/// Characters of a name from the script that a message repeats.
const QUOTED_MAX: usize = 60;

/// A place in a script. Both numbers begin at 1; a column is a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl Position {
    /// Where a script begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One thing that is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScriptError {
    /// Where.
    pub position: Position,
    /// What is wrong, and what to write instead where that is known.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.message)
    }
}

impl std::error::Error for ScriptError {}

/// Something was refused, and reported to [`Errors`].
#[derive(Debug)]
pub(crate) struct Refused;

/// The refusals of one script.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    list: Vec<ScriptError>,
}

impl Errors {
    /// Reports a refusal, once.
    pub(crate) fn refuse(&mut self, position: Position, message: impl Into<String>) -> Refused {
        let error = ScriptError { position, message: message.into() };
        if !self.is_full() && !self.list.contains(&error) {
            self.list.push(error);
        }
        Refused
    }

    /// No more refusals are reported: the rest of the script need not be read.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= ERRORS_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The refusals in the order of the script; the value if there is none.
    pub(crate) fn into_result<T>(mut self, value: T) -> Result<T, Vec<ScriptError>> {
        self.list.sort();
        if self.list.is_empty() { Ok(value) } else { Err(self.list) }
    }
}

/// A text of the script as messages show it: short, and without control characters.
pub(crate) fn quote(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.len() < text.len() { format!("'{shown}...'") } else { format!("'{shown}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_bounded_sorted_and_reported_once() {
        let mut errors = Errors::default();
        for line in (1..=50).rev() {
            errors.refuse(Position { line, column: 2 }, "no");
            errors.refuse(Position { line, column: 2 }, "no");
        }
        let list = errors.into_result(()).unwrap_err();
        assert_eq!(list.len(), ERRORS_MAX);
        assert!(list.is_sorted() && list[0].position.line == 31);
        assert_eq!(list[0].to_string(), "line 31, column 2: no");
    }

    #[test]
    fn quoted_text_is_short_and_has_no_control_characters() {
        assert_eq!(quote("a\u{1b}[31mb"), "'a?[31mb'");
        assert!(quote(&"é".repeat(1000)).len() < 200);
    }
}
