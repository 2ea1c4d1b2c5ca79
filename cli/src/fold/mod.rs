//! Folded stacks written as a flame graph or as a table of functions.

pub(crate) mod flame;
pub(crate) mod top;
