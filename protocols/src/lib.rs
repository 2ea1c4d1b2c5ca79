//! Parsers of application protocols: bytes of a connection's two sides in, exchanges (a request and its answer) out.
//! No I/O, no clock, no unsafe; secrets are redacted here, before an exchange exists.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod by_side;
mod candidate;
mod connection;
mod dns;
mod exchange;
mod first_bytes;
mod http1;
pub mod infer;
mod limits;
mod mask;
mod pair;
mod pgsql;
mod protocol;
pub mod redact;
mod redis;
#[cfg(test)]
mod scripted;
mod stream;

pub use candidate::Gaps;
pub use connection::{Connection, Verdict};
pub use dns::Dns;
pub use exchange::{DnsFields, Exchange, Fields, HttpFields, PgsqlFields, RedisFields};
pub use http1::Http1;
pub use mask::Masked;
pub use pgsql::Pgsql;
pub use protocol::{Guess, Name, Parser, Protocol, Role, Settings, Side, Step, Times, Transport, UnknownName};
pub use redis::Redis;

/// Every supported protocol, in the order in which a connection's first bytes are tried.
pub fn all() -> [&'static dyn Protocol; 4] {
    [&Http1, &Pgsql, &Redis, &Dns]
}
