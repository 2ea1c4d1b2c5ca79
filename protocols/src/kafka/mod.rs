//! Kafka: requests by their API with topics, partitions and groups, and the errors of their answers. Other APIs with their
//! name alone. Keys and values of records are never kept.

mod api;
mod body;
mod decoder;
mod error_name;
mod half;
mod header;
mod parser;
mod schema;

pub use api::api_name;
pub use error_name::error_name;

use self::header::Header;
use crate::{Guess, Name, Parser, Protocol, Role, Settings, Side, Transport};

/// Kafka.
pub struct Kafka;

/// Servers receive the length of a request by a call of its own.
const LENGTH_BYTES: usize = 4;

impl Protocol for Kafka {
    fn name(&self) -> Name {
        Name::Kafka
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        let client = Role::of_asking(side);
        match header::request(first) {
            Header::Request(header) if !header.client.is_empty() => Guess::Sure(client),
            Header::Request(_) => Guess::Maybe(client),
            Header::More if first.len() >= LENGTH_BYTES => Guess::Maybe(client),
            Header::More | Header::No => Guess::No,
        }
    }

    fn connection(&self, role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(parser::KafkaParser::new(role, transport, mid_stream, settings))
    }
}

#[cfg(test)]
mod tests;
