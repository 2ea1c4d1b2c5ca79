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
mod http2;
mod http_body;
pub mod infer;
mod kafka;
mod limits;
mod mask;
mod mysql;
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
pub use dns::{Dns, DnsAnswer, DnsData, DnsMessage, DnsQuestion};
pub use exchange::{
    DnsFields, Exchange, Fields, HttpFields, KafkaFields, MysqlFields, MysqlStatus, PgsqlFields, RedisFields,
};
pub use http1::Http1;
pub use http2::{Grpc, Http2};
pub use kafka::{Kafka, api_name as kafka_api_name, error_name as kafka_error_name};
pub use mask::Masked;
pub use mysql::{Mysql, command_name as mysql_command_name};
pub use pgsql::Pgsql;
pub use protocol::{Guess, Name, Parser, Protocol, Role, Settings, Side, Step, Times, Transport, UnknownName};
pub use redis::Redis;

/// The parsers of the protocols that are asked for. HTTP/2 is asked for with HTTP, and gRPC with either.
pub(crate) fn asked(names: &[Name]) -> Vec<&'static dyn Protocol> {
    let http2 = names.contains(&Name::Http) || names.contains(&Name::Http2);
    let is_asked = |name: Name| match name {
        Name::Http2 => http2,
        // With HTTP/2 its calls are among the others.
        Name::Grpc => names.contains(&name) && !http2,
        _ => names.contains(&name),
    };
    all().into_iter().filter(|protocol| is_asked(protocol.name())).collect()
}

/// Every supported protocol, in the order in which a connection's first bytes are tried.
pub fn all() -> [&'static dyn Protocol; 8] {
    [&Http1, &Pgsql, &Redis, &Dns, &Http2, &Grpc, &Mysql, &Kafka]
}
