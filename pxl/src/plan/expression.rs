//! What is computed of a row.

use std::{fmt, sync::Arc};

use trilobite_schema::ColumnType;

use crate::functions::{Function, Overload};

/// Characters of a text that are shown where a plan is printed.
const SHOWN_MAX: usize = 200;

/// What is computed of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A column of the node's input.
    Column(Arc<str>),
    /// A constant.
    Literal(Literal),
    /// A function. Whole numbers are widened where the overload takes others.
    Call {
        /// The function.
        function: &'static Function,
        /// The types that it takes here.
        overload: &'static Overload,
        /// Its arguments.
        arguments: Vec<Arc<Expression>>,
    },
    /// A link to another script, as JSON `{"label":..,"script":..,"args":{..}}`.
    ScriptReference {
        /// What is shown.
        label: Arc<Expression>,
        /// The script.
        script: Arc<Expression>,
        /// Its arguments by name.
        arguments: Vec<(Arc<str>, Arc<Expression>)>,
    },
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// BOOLEAN.
    Boolean(bool),
    /// INT64.
    Int64(i64),
    /// UINT128.
    UInt128(u128),
    /// FLOAT64.
    Float64(f64),
    /// STRING.
    String(Arc<str>),
    /// TIME64NS, of the wall clock.
    Time64Ns(i64),
}

impl Literal {
    /// Its type.
    pub fn kind(&self) -> ColumnType {
        match self {
            Self::Boolean(_) => ColumnType::Boolean,
            Self::Int64(_) => ColumnType::Int64,
            Self::UInt128(_) => ColumnType::UInt128,
            Self::Float64(_) => ColumnType::Float64,
            Self::String(_) => ColumnType::String,
            Self::Time64Ns(_) => ColumnType::Time64Ns,
        }
    }
}

impl Expression {
    /// Calls `visit` with the name of each column that it reads.
    pub fn for_each_column(&self, visit: &mut impl FnMut(&Arc<str>)) {
        match self {
            Self::Column(name) => visit(name),
            Self::Literal(_) => {}
            Self::Call { arguments, .. } => arguments.iter().for_each(|argument| argument.for_each_column(visit)),
            Self::ScriptReference { label, script, arguments } => {
                label.for_each_column(visit);
                script.for_each_column(visit);
                arguments.iter().for_each(|(_, argument)| argument.for_each_column(visit));
            }
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(truth) => truth.fmt(f),
            Self::Int64(number) => number.fmt(f),
            Self::UInt128(number) => write!(f, "{number:#034x}"),
            Self::Float64(number) => write!(f, "{number:?}"),
            Self::String(text) => match text.char_indices().nth(SHOWN_MAX) {
                Some((end, _)) => write!(f, "{:?}...", text.get(..end).unwrap_or_default()),
                None => write!(f, "{text:?}"),
            },
            Self::Time64Ns(time) => write!(f, "time({time})"),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => f.write_str(name),
            Self::Literal(literal) => literal.fmt(f),
            Self::Call { function, arguments, .. } => {
                write!(f, "{}(", function.name)?;
                for (index, argument) in arguments.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{argument}")?;
                }
                f.write_str(")")
            }
            Self::ScriptReference { label, script, arguments } => {
                write!(f, "script_reference({label}, {script}")?;
                for (name, argument) in arguments {
                    write!(f, ", {name}={argument}")?;
                }
                f.write_str(")")
            }
        }
    }
}
