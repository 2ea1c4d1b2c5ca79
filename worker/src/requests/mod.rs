//! Requests: bytes of connections from the ring to rows, and rows to readers.

mod budget;
mod capture;
mod connections;
mod counts;
mod exchange_filter;
mod followed;
mod job;
mod readers;
mod record;
#[cfg(test)]
mod record_fixtures;
mod recording;
mod verdicts;

pub(crate) use budget::Budget;
pub(crate) use job::RequestJob;
pub(crate) use recording::ReplayJob;
