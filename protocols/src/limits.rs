//! Bounds of what one connection may hold. Everything that they drop is counted.

/// Bytes of a side that wait for the rest of their message; beyond it the oldest become a gap.
pub(crate) const UNREAD_MAX: usize = 1 << 20;

/// Bytes kept until the protocol of a connection is known.
pub(crate) const UNDECIDED_BYTES_MAX: usize = 64 << 10;

/// Pieces kept until the protocol of a connection is known.
pub(crate) const UNDECIDED_PIECES_MAX: usize = 64;

/// Bytes and pieces of a connection that was joined which are searched for the beginning of a message.
pub(crate) const JOINED_BYTES_MAX: usize = 4 << 20;
pub(crate) const JOINED_PIECES_MAX: usize = 1024;

/// Bytes of a side that are looked at to recognise a protocol.
pub(crate) const FIRST_BYTES: usize = 256;

/// Bytes that a parser may fail to understand before its first answer fits a request.
pub(crate) const UNCONFIRMED_SKIP_MAX: u64 = 64 << 10;

/// Requests of a connection that wait for their answers.
pub(crate) const WAITING_MAX: usize = 16_384;

/// Entries that an idle queue keeps room for.
pub(crate) const IDLE_CAPACITY: usize = 1;

/// Bytes of the requests and answers of a connection that wait for each other.
pub(crate) const WAITING_BYTES_MAX: usize = 1 << 20;

/// A client that sends requests before its answers have come is in step again after so long without a byte, in nanoseconds.
pub(crate) const QUIET: u64 = 10_000_000_000;

/// An answer may be recorded so long before its request, in nanoseconds: another thread received it before the call that
/// sent the request had returned.
pub(crate) const EARLY_MAX: u64 = 5_000_000;

/// Requests that are paired by id are given up after so long, in nanoseconds.
pub(crate) const UNANSWERED_MAX: u64 = 10_000_000_000;

/// Bytes of a header block, a statement or a name that are kept; the rest is counted.
pub(crate) const TEXT_MAX: usize = 8 << 10;
