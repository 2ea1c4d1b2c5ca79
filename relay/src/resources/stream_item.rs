//! What is asked of an agent's stream, and what it sends.

use jiff::Timestamp;

use super::object::Row;

/// Which rows of an agent are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The latest rows of the past; at most `limit`, and only since then.
    Past { limit: u64, since: Option<u64> },
    /// New rows; flows and requests of the past, too, after that time.
    Follow { after: Option<u64> },
}

/// What an agent sends.
#[derive(Debug, PartialEq)]
pub enum StreamItem {
    Row(Row),
    /// So many rows were lost; the row reports it in the words of Tetragon or Hubble, or in our own.
    Lost(u64, Row),
}

/// Nanoseconds since 1970.
pub fn nanoseconds(time: Option<&prost_types::Timestamp>) -> u64 {
    time.map_or(0, |time| {
        let seconds = u64::try_from(time.seconds).unwrap_or_default();
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.nanos).unwrap_or_default())
    })
}

pub fn timestamp(nanoseconds: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanoseconds % 1_000_000_000).unwrap_or_default(),
    }
}

pub fn now_nanoseconds() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default()
}
