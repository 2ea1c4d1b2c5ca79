//! Tokens turned into a tree: the part of Python that PxL has. Commas between named arguments may be missing, as Pixie's own
//! scripts leave them out.

pub(crate) mod ast;
mod expressions;
mod statements;
mod tokens;

pub(crate) use self::statements::PXTRACE;
use self::{ast::Statement, tokens::Parser};
use crate::{error::Errors, lexer::Token};

/// Parses a script. Statements that cannot be parsed are reported and left out.
pub(crate) fn parse(tokens: Vec<Token<'_>>, errors: &mut Errors) -> Vec<Statement> {
    Parser::new(tokens, errors).script()
}

#[cfg(test)]
mod tests;
