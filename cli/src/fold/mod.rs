//! Folded stacks: merged, and written as a flame graph, in pprof's format, or as a table of functions.

pub(crate) mod flame;
pub(crate) mod merge;
pub(crate) mod pprof;
pub(crate) mod top;
