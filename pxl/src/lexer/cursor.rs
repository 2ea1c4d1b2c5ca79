//! A script, read character by character.

use crate::error::Position;

pub(crate) struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    position: Position,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, offset: 0, position: Position::START }
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// What was read since this offset.
    pub(crate) fn since(&self, offset: usize) -> &'a str {
        self.text.get(offset..self.offset).unwrap_or_default()
    }

    /// What is still to be read.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    pub(crate) fn starts_with(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    pub(crate) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.offset += next.len_utf8();
        if next == '\n' {
            self.position = Position { line: self.position.line + 1, column: 1 };
        } else {
            self.position.column += 1;
        }
        Some(next)
    }

    pub(crate) fn skip(&mut self, characters: usize) {
        for _ in 0..characters {
            self.bump();
        }
    }

    /// Reads while this holds.
    pub(crate) fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
    }
}
