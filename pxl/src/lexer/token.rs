//! A token of a script.

use crate::error::Position;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind<'a> {
    /// A name that is no keyword.
    Name(&'a str),
    /// A word of Python, part of PxL or not.
    Keyword(&'static str),
    Integer(i64),
    Float(f64),
    Text(String),
    /// An operator, bracket or separator.
    Symbol(&'static str),
    /// The end of a line outside of brackets.
    NewLine,
    /// A line is indented more than the one before.
    Indent,
    /// A line is indented less.
    Dedent,
    EndOfScript,
}

/// A token, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind<'a>,
    pub(crate) position: Position,
}

/// Python's words. Those that PxL does not have are keywords too, so that they are refused by name.
pub(crate) const KEYWORDS: [&str; 34] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with",
];

/// Longest first: the first that fits is the token.
pub(crate) const SYMBOLS: [&str; 39] = [
    "**=", "//=", ">>=", "<<=", "...", "==", "!=", "<=", ">=", "->", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "**", "//", "<<", ">>", ":=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "=", "<", ">", "+", "-", "*", "/",
];

/// One character, and not the beginning of a longer one.
pub(crate) const SINGLE_SYMBOLS: [&str; 7] = ["%", "@", "~", "&", "|", "^", ";"];

impl TokenKind<'_> {
    /// The token as messages name it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Name(name) => crate::error::quote(name),
            Self::Keyword(word) => format!("'{word}'"),
            Self::Integer(_) | Self::Float(_) => "a number".to_owned(),
            Self::Text(_) => "a string".to_owned(),
            Self::Symbol(symbol) => format!("'{symbol}'"),
            Self::NewLine => "the end of the line".to_owned(),
            Self::Indent => "an indented line".to_owned(),
            Self::Dedent => "the end of an indented block".to_owned(),
            Self::EndOfScript => "the end of the script".to_owned(),
        }
    }
}
