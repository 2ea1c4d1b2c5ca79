//! A value of a column.

use std::fmt;

/// A value of a column that only one table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// INT64.
    Int(i64),
    /// STRING.
    Text(String),
}

/// The number as INT64; the largest one if it is above.
pub(crate) fn to_int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Int(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Int(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
