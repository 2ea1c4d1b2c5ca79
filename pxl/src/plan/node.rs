//! The steps of a plan.

use std::sync::Arc;

use super::{expression::Expression, relation::Relation};
use crate::{
    error::Position,
    functions::{Function, Generator, Overload},
    plan::expression::Literal,
};

/// Number of a node in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One step: what it does with the rows of its inputs, and what it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it does.
    pub operation: Operation,
    /// The nodes whose rows it takes. They stand before it.
    pub inputs: Vec<NodeId>,
    /// The columns that it makes.
    pub relation: Arc<Relation>,
    /// Where the script asks for it.
    pub position: Position,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Reads a table.
    Scan {
        /// The table.
        table: &'static str,
        /// Rows that began in this time.
        range: TimeRange,
    },
    /// Makes a table by a function.
    Generate {
        /// The function.
        generator: &'static Generator,
        /// Its arguments by name.
        arguments: Vec<(&'static str, Literal)>,
    },
    /// Adds a column, or replaces it.
    Map {
        /// Its name.
        column: Arc<str>,
        /// Its values.
        value: Arc<Expression>,
    },
    /// Keeps rows.
    Filter {
        /// Which ones.
        predicate: Arc<Expression>,
    },
    /// Keeps columns: those of the node's relation.
    Project,
    /// Makes a row of each group of rows, or of all rows.
    Aggregate {
        /// Columns that are equal in a group.
        groups: Vec<Arc<str>>,
        /// The columns that are computed.
        aggregates: Vec<Aggregate>,
    },
    /// Joins the rows of two inputs whose columns are equal. What has no partner is filled with "", 0 and false.
    Join {
        /// Which rows without a partner are kept.
        how: JoinKind,
        /// Columns of the first and of the second input.
        on: Vec<(Arc<str>, Arc<str>)>,
        /// For each column of the result: the input, and the name there.
        columns: Vec<(JoinSide, Arc<str>)>,
    },
    /// The rows of all inputs.
    Union {
        /// Merged by `time_`.
        by_time: bool,
    },
    /// The first rows.
    Limit {
        /// How many.
        rows: u64,
    },
    /// Orders rows.
    Sort {
        /// Columns, the most significant first, and whether the least value comes first.
        by: Vec<(Arc<str>, bool)>,
    },
}

/// Nanoseconds of the wall clock; the end is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// None: the oldest row.
    pub start: Option<i64>,
    /// None: the newest row.
    pub end: Option<i64>,
}

/// A column that is computed of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Its name.
    pub column: Arc<str>,
    /// What is computed.
    pub function: &'static Function,
    /// The types that it takes here.
    pub overload: &'static Overload,
    /// Of which columns.
    pub arguments: Vec<Arc<str>>,
}

/// Which rows without a partner a join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// None.
    Inner,
    /// Those of the first input.
    Left,
    /// Those of the second input.
    Right,
    /// All.
    Outer,
}

/// An input of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinSide {
    /// The first.
    Left,
    /// The second.
    Right,
}

impl JoinKind {
    /// As a script writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Right => "right",
            Self::Outer => "outer",
        }
    }
}
