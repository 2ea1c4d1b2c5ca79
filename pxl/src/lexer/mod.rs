//! A script turned into tokens, with Python's rules of lines and indentation.

mod cursor;
mod number;
mod text;
mod token;

use cursor::Cursor;
use token::{KEYWORDS, SINGLE_SYMBOLS, SYMBOLS};
pub(crate) use token::{Token, TokenKind};

use crate::error::{Errors, Position, quote};

/// Blocks inside of blocks.
const INDENTED_MAX: usize = 50;

/// How comments begin that set something.
const SETTING: &str = "#px:set";

/// The tokens of a script, and its comments that set something.
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) settings: Vec<(Position, &'a str)>,
}

/// Splits a script. What cannot be read is reported and left out.
pub(crate) fn tokenize<'a>(script: &'a str, errors: &mut Errors) -> Lexed<'a> {
    let mut lexer = Lexer {
        cursor: Cursor::new(script.trim_start_matches('\u{feff}')),
        lexed: Lexed { tokens: Vec::new(), settings: Vec::new() },
        indents: vec![0],
        brackets: Vec::new(),
        errors,
    };
    lexer.read_lines();
    lexer.lexed
}

struct Lexer<'a, 'e> {
    cursor: Cursor<'a>,
    lexed: Lexed<'a>,
    /// Columns of the blocks that are open.
    indents: Vec<usize>,
    /// Brackets that are open.
    brackets: Vec<(char, Position)>,
    errors: &'e mut Errors,
}

impl<'a> Lexer<'a, '_> {
    fn push(&mut self, kind: TokenKind<'a>, position: Position) {
        self.lexed.tokens.push(Token { kind, position });
    }

    fn read_lines(&mut self) {
        while self.cursor.peek().is_some() && !self.errors.is_full() {
            if self.brackets.is_empty() {
                self.read_indentation();
            }
            self.read_line();
        }
        if let Some((bracket, position)) = self.brackets.pop() {
            self.errors.refuse(position, format!("'{bracket}' is never closed"));
        }
        // Behind a last line that is complete there is none: errors at the end of the script are reported at the end of that one,
        // as clients show the line of an error.
        let end = match self.lexed.tokens.last() {
            None => Position::START,
            Some(Token { kind: TokenKind::NewLine, position }) => *position,
            Some(Token { position, .. }) => {
                let here = self.cursor.position();
                let end = if here.column == 1 { *position } else { here };
                self.push(TokenKind::NewLine, end);
                end
            }
        };
        while self.indents.len() > 1 {
            self.indents.pop();
            self.push(TokenKind::Dedent, end);
        }
        self.push(TokenKind::EndOfScript, end);
    }

    /// Compares the indentation of a line that has something on it with the lines before.
    fn read_indentation(&mut self) {
        let mut width = 0;
        while let Some(character @ (' ' | '\t' | '\u{c}')) = self.cursor.peek() {
            width = if character == '\t' { width / 8 * 8 + 8 } else { width + 1 };
            self.cursor.bump();
        }
        if matches!(self.cursor.peek(), None | Some('\n' | '\r' | '#')) {
            return;
        }
        let position = self.cursor.position();
        let current = self.indents.last().copied().unwrap_or_default();
        if width > current {
            if self.indents.len() > INDENTED_MAX {
                self.errors.refuse(position, format!("more than {INDENTED_MAX} blocks are inside of each other"));
                return;
            }
            self.indents.push(width);
            self.push(TokenKind::Indent, position);
            return;
        }
        while self.indents.last().is_some_and(|indent| *indent > width) {
            self.indents.pop();
            self.push(TokenKind::Dedent, position);
        }
        if self.indents.last() != Some(&width) {
            self.errors.refuse(position, "this line is indented like no block that is open");
        }
    }

    fn read_line(&mut self) {
        while let Some(next) = self.cursor.peek() {
            match next {
                '\n' => {
                    let position = self.cursor.position();
                    self.cursor.bump();
                    let has_tokens = !matches!(
                        self.lexed.tokens.last().map(|token| &token.kind),
                        None | Some(TokenKind::NewLine | TokenKind::Indent | TokenKind::Dedent)
                    );
                    if self.brackets.is_empty() && has_tokens {
                        self.push(TokenKind::NewLine, position);
                    }
                    return;
                }
                ' ' | '\t' | '\r' | '\u{c}' => self.cursor.skip(1),
                '#' => self.read_comment(),
                '\\' if self.cursor.rest().starts_with("\\\n") => self.cursor.skip(2),
                '\\' if self.cursor.rest().starts_with("\\\r\n") => self.cursor.skip(3),
                _ => self.read_token(next),
            }
            if self.errors.is_full() {
                return;
            }
        }
    }

    fn read_comment(&mut self) {
        let (position, offset) = (self.cursor.position(), self.cursor.offset());
        self.cursor.skip_while(|c| c != '\n');
        let comment = self.cursor.since(offset);
        if let Some(setting) = comment.strip_prefix(SETTING)
            && position.column == 1
        {
            self.lexed.settings.push((position, setting));
        }
    }

    fn read_token(&mut self, next: char) {
        let (position, offset) = (self.cursor.position(), self.cursor.offset());
        // What was refused has a token too, so that nothing is said to be missing there.
        if let Some(prefix) = text::prefix_length(self.cursor.rest()) {
            let text = text::read(&mut self.cursor, prefix, self.errors).unwrap_or_default();
            self.push(TokenKind::Text(text), position);
        } else if next.is_ascii_digit() || next == '.' && self.cursor.peek_second().is_some_and(|c| c.is_ascii_digit())
        {
            let number = number::read(&mut self.cursor, self.errors).unwrap_or(TokenKind::Integer(0));
            self.push(number, position);
        } else if next.is_alphabetic() || next == '_' {
            self.cursor.skip_while(|c| c.is_alphanumeric() || c == '_');
            let name = self.cursor.since(offset);
            let keyword = KEYWORDS.into_iter().find(|keyword| *keyword == name);
            self.push(keyword.map_or(TokenKind::Name(name), TokenKind::Keyword), position);
        } else {
            self.read_symbol(next, position);
        }
    }

    fn read_symbol(&mut self, next: char, position: Position) {
        let mut symbols = SYMBOLS.into_iter().chain(SINGLE_SYMBOLS);
        let Some(symbol) = symbols.find(|symbol| self.cursor.starts_with(symbol)) else {
            self.cursor.bump();
            self.errors.refuse(position, format!("the character {} is not part of PxL", quote(&next.to_string())));
            return;
        };
        self.cursor.skip(symbol.len());
        match symbol {
            "(" | "[" | "{" => self.brackets.push((next, position)),
            ")" | "]" | "}" => self.close_bracket(next, position),
            _ => {}
        }
        self.push(TokenKind::Symbol(symbol), position);
    }

    fn close_bracket(&mut self, bracket: char, position: Position) {
        let opening = match bracket {
            ')' => '(',
            ']' => '[',
            _ => '{',
        };
        match self.brackets.pop() {
            Some((open, _)) if open == opening => {}
            Some((open, at)) => {
                self.errors.refuse(position, format!("'{bracket}' does not close the '{open}' of line {}", at.line));
            }
            None => drop(self.errors.refuse(position, format!("'{bracket}' closes nothing"))),
        }
    }
}

#[cfg(test)]
mod tests;
