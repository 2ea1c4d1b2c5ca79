//! DNS as packets show it: messages read, queries paired with their answers.

mod job;
mod lookups;
mod packet;
mod stream;
mod tracker;

pub(crate) use job::DnsJob;
