//! Folded stacks, as profiles of several nodes are merged and written: the command line and the relay make the same files.

#![warn(missing_docs)]

mod merge;
pub mod pprof;

pub use merge::{Folded, FoldedError, Stack};
