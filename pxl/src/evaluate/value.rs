//! What a script computes with before any row is read.

use std::{rc::Rc, sync::Arc};

use trilobite_schema::{ColumnType, SemanticType};

use crate::{
    error::Position,
    functions::{Function, Generator},
    parser::ast::Definition,
    plan::{Expression, Literal, NodeId},
};

#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Truth(bool),
    Integer(i64),
    Float(f64),
    Text(Rc<str>),
    /// Nanoseconds of the wall clock.
    Time(i64),
    List(Rc<[Item]>),
    Tuple(Rc<[Item]>),
    Dict(Rc<[(Item, Item)]>),
    /// Something that is computed of each row.
    Expression(Typed),
    Frame(NodeId),
    /// `df.groupby(..)`: the names of columns, and where they stand.
    Groups(NodeId, Rc<[(Arc<str>, Position)]>),
    /// `df.ctx`
    Context(NodeId),
    /// `df.METHOD`
    Method(NodeId, Method),
    /// `df.groupby(..).agg`
    GroupedAggregate(NodeId, Rc<[(Arc<str>, Position)]>),
    Module(Module),
    /// `px.NAME`
    Builtin(Builtin),
    /// A function of the script, or of a module.
    Defined(Rc<Definition>, Module),
    /// It could not be computed, and that was reported.
    Poison,
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) position: Position,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub(super) name: Option<Rc<str>>,
    /// Where its name stands, or its value if it has none.
    pub(super) position: Position,
    pub(super) item: Item,
}

/// Something that is computed of each row, with its type and meaning.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) expression: Arc<Expression>,
    pub(super) kind: ColumnType,
    pub(super) semantic: SemanticType,
    pub(super) size: u32,
    pub(super) depth: u32,
}

/// Whose names a piece of script sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    /// The script's own.
    Script,
    /// `px`
    Px,
    /// `pxviews`
    Views,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Aggregate,
    Append,
    Drop,
    GroupBy,
    Head,
    Merge,
    Sort,
}

/// What is called as `px.NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Function(&'static Function),
    Generator(&'static Generator),
    /// A type that says what values mean.
    Cast(&'static Cast),
    /// It is computed before any row is read.
    Constant(Constant),
    /// Nanoseconds of a unit.
    Unit(i64),
    DataFrame,
    Debug,
    Display,
    EqualsAny,
    ScriptReference,
}

/// A type of PxL: what values mean, and which types can.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) name: &'static str,
    pub(super) semantic: SemanticType,
    pub(super) kinds: &'static [ColumnType],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Constant {
    FormatDuration,
    MakeUpid,
    Now,
    ParseDuration,
    ParseTime,
    ParseTimeByFormat,
    UInt128,
}

impl Typed {
    pub(super) fn literal(literal: Literal) -> Self {
        let kind = literal.kind();
        Self { expression: Expression::Literal(literal).into(), kind, semantic: SemanticType::None, size: 1, depth: 1 }
    }
}

impl Value {
    /// The value as something that is computed of each row.
    pub(super) fn typed(&self) -> Option<Typed> {
        Some(Typed::literal(match self {
            Self::Expression(typed) => return Some(typed.clone()),
            Self::Truth(truth) => Literal::Boolean(*truth),
            Self::Integer(number) => Literal::Int64(*number),
            Self::Float(number) => Literal::Float64(*number),
            Self::Text(text) => Literal::String((&**text).into()),
            Self::Time(time) => Literal::Time64Ns(*time),
            _ => return None,
        }))
    }

    /// What it is, as messages say it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            Self::Truth(_) => "a truth value".to_owned(),
            Self::Integer(_) => "a whole number".to_owned(),
            Self::Float(_) => "a number".to_owned(),
            Self::Text(_) => "a string".to_owned(),
            Self::Time(_) => "a time".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Tuple(_) => "a tuple".to_owned(),
            Self::Dict(_) => "a dict".to_owned(),
            Self::Expression(typed) => format!("a column of {}", typed.kind.name()),
            Self::Frame(_) => "a DataFrame".to_owned(),
            Self::Groups(..) => "groups of rows, which lack their .agg(..)".to_owned(),
            Self::Context(_) => "ctx, which lacks its ['name']".to_owned(),
            Self::Method(..) | Self::GroupedAggregate(..) => "a method that is not called".to_owned(),
            Self::Module(_) => "a module".to_owned(),
            Self::Builtin(_) | Self::Defined(..) => "a function".to_owned(),
            Self::Poison => "a value that could not be computed".to_owned(),
        }
    }
}
