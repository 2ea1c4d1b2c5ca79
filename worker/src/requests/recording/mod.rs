//! Recordings: the calls of a profile's connections as the ring had them, without what no row shows, and the rows that are made of
//! them again.

mod format;
mod reader;
mod recorder;
mod replay;
#[cfg(test)]
mod tests;
mod waiting_calls;

pub(super) use recorder::Recorder;
pub(crate) use replay::ReplayJob;
pub(super) use waiting_calls::WaitingCalls;
