//! Tracepoints of policies: what is read at each, and the program that reads it.

pub mod args;
pub mod decode;
pub mod format;
mod hook;

pub use hook::{Hook, Maps, Place, Ready, readings};
