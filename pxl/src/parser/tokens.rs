//! The tokens that are still to be parsed, and the errors found in them.

use crate::{
    error::{Errors, Position, Refused},
    lexer::{Token, TokenKind},
    limits::NESTED_MAX,
    parser::ast::{Expr, ExprKind},
};

pub(super) struct Parser<'a, 'e> {
    tokens: Vec<Token<'a>>,
    next: usize,
    /// Brackets and operands that are being parsed inside of each other.
    nested: u16,
    pub(super) errors: &'e mut Errors,
}

impl<'a, 'e> Parser<'a, 'e> {
    pub(super) fn new(tokens: Vec<Token<'a>>, errors: &'e mut Errors) -> Self {
        Self { tokens, next: 0, nested: 0, errors }
    }

    pub(super) fn peek(&self) -> &TokenKind<'a> {
        self.tokens.get(self.next).map_or(&TokenKind::EndOfScript, |token| &token.kind)
    }

    pub(super) fn peek_second(&self) -> &TokenKind<'a> {
        self.tokens.get(self.next + 1).map_or(&TokenKind::EndOfScript, |token| &token.kind)
    }

    pub(super) fn position(&self) -> Position {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(Position::START, |token| token.position)
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    pub(super) fn at_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(next) if *next == symbol)
    }

    pub(super) fn at_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), TokenKind::Keyword(next) if *next == word)
    }

    /// Takes this symbol if it comes next.
    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), Refused> {
        if self.accept(symbol) { Ok(()) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    pub(super) fn expect_name(&mut self, what: &str) -> Result<(&'a str, Position), Refused> {
        let position = self.position();
        let TokenKind::Name(name) = *self.peek() else { return Err(self.unexpected(what)) };
        self.advance();
        Ok((name, position))
    }

    /// Refuses the next token.
    pub(super) fn unexpected(&mut self, expected: &str) -> Refused {
        let message = format!("expected {expected}, found {}", self.peek().describe());
        self.refuse_here(message)
    }

    pub(super) fn refuse_here(&mut self, message: impl Into<String>) -> Refused {
        let position = self.position();
        self.errors.refuse(position, message)
    }

    /// Parses something that may have itself inside, up to a limit.
    pub(super) fn nest<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Refused>) -> Result<T, Refused> {
        if self.nested >= NESTED_MAX {
            return Err(self.too_deep(self.position()));
        }
        self.nested += 1;
        let parsed = parse(self);
        self.nested -= 1;
        parsed
    }

    /// An expression around others, the deepest of which has this depth.
    pub(super) fn node(&mut self, position: Position, inner: u16, kind: ExprKind) -> Result<Expr, Refused> {
        let depth = inner + 1;
        if depth > NESTED_MAX { Err(self.too_deep(position)) } else { Ok(Expr { position, depth, kind }) }
    }

    fn too_deep(&mut self, position: Position) -> Refused {
        self.errors.refuse(position, format!("more than {NESTED_MAX} expressions are inside of each other"))
    }

    /// Leaves the rest of a line out, and the block below it.
    pub(super) fn skip_statement(&mut self) {
        while !matches!(self.peek(), TokenKind::NewLine | TokenKind::EndOfScript) {
            self.advance();
        }
        if self.peek() == &TokenKind::NewLine {
            self.advance();
        }
        let mut blocks = 0_u32;
        while self.peek() == &TokenKind::Indent || blocks > 0 {
            match self.peek() {
                TokenKind::Indent => blocks += 1,
                TokenKind::Dedent => blocks -= 1,
                TokenKind::EndOfScript => return,
                _ => {}
            }
            self.advance();
        }
    }
}
