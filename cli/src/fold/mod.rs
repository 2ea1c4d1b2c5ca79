//! Folded stacks of several nodes: merged, and drawn as a flame graph. Pure.

pub(crate) mod flame;
pub(crate) mod merge;
