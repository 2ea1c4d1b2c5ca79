//! Stores results of CPU profiles on disk, for the services that read them.

mod meta;
mod progress_marker;
mod recover;
mod result_writer;
mod results;
#[cfg(test)]
mod tests;
mod unwritten;

pub use meta::{KEPT_FOR, ProfileCounts, ProfileMeta};
pub use result_writer::ResultWriter;
pub use results::Results;
