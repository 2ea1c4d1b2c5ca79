//! Worker processes: the untrusted bytes of each layer are parsed by one of its own.

mod process;
pub mod program;

pub(crate) use process::WorkerProcess;
pub use program::WorkerProgram;
