//! A script as a tree.

use std::rc::Rc;

use crate::error::Position;

/// A statement, and where it begins.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) position: Position,
    pub(crate) kind: StatementKind,
}

#[derive(Debug)]
pub(crate) enum StatementKind {
    /// `import NAME`
    Import(Rc<str>),
    /// `def NAME(..):`
    Define(Rc<Definition>),
    /// `return EXPRESSION`
    Return(Option<Expr>),
    /// `TARGET = VALUE`
    Assign { target: Expr, value: Expr },
    /// An expression alone: a call, or the text that documents a function.
    Expression(Expr),
}

/// A function of the script.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: Rc<str>,
    pub(crate) position: Position,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Vec<Statement>,
}

/// A parameter of a function.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Rc<str>,
    pub(crate) position: Position,
    pub(crate) annotation: Option<Expr>,
    pub(crate) default: Option<Expr>,
}

/// An expression, where it begins, and how deep it is nested.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) position: Position,
    pub(crate) depth: u16,
    pub(crate) kind: ExprKind,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    None,
    Truth(bool),
    Integer(i64),
    Float(f64),
    Text(Rc<str>),
    Name(Rc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute { of: Box<Expr>, name: Rc<str>, at: Position },
    Subscript { of: Box<Expr>, index: Box<Expr> },
    Call { function: Box<Expr>, arguments: Vec<Argument> },
    Unary { operator: Unary, operand: Box<Expr> },
    Binary { operator: Binary, at: Position, left: Box<Expr>, right: Box<Expr> },
}

/// An argument of a call.
#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) position: Position,
    pub(crate) value: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Minus,
    Plus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Binary {
    /// The function that it stands for.
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::Or => "logicalOr",
            Self::And => "logicalAnd",
            Self::Equal => "equal",
            Self::NotEqual => "notEqual",
            Self::Less => "lessThan",
            Self::LessEqual => "lessThanEqual",
            Self::Greater => "greaterThan",
            Self::GreaterEqual => "greaterThanEqual",
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Modulo => "modulo",
        }
    }

    /// As a script writes it.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }

    /// Which operators bind more.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Add | Self::Subtract => 5,
            Self::Multiply | Self::Divide | Self::Modulo => 6,
            _ => COMPARISON,
        }
    }
}

/// Precedence of comparisons, which stands between that of `not` and that of `+`.
pub(crate) const COMPARISON: u8 = 4;

/// Precedence of `not`.
pub(crate) const NOT: u8 = 3;
