//! Folded stacks of several nodes: as one, and as a picture. Pure.

pub(crate) mod flame;
pub(crate) mod merge;
