//! PostgreSQL, protocol 3: simple and extended queries, pipelines, COPY, cancel requests. One exchange a statement that was
//! executed, and one for a message before it that failed.

mod exchanges;
mod group;
mod mask;
mod message;
mod parser;
mod server_error;
mod signs;
mod statements;
mod wire;

use crate::{Guess, Name, Parser, Protocol, Role, Settings, Side, Transport};
use signs::Sign;
use wire::Sender;

/// PostgreSQL.
pub struct Pgsql;

impl Protocol for Pgsql {
    fn name(&self) -> Name {
        Name::Pgsql
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        let client = Role::of_asking(side);
        let server = Role::of_answering(side);
        match signs::startup(first) {
            Sign::Yes => return Guess::Sure(client),
            Sign::More => return Guess::Maybe(client),
            Sign::No => {}
        }
        match (signs::message(first, Sender::Client), signs::message(first, Sender::Server)) {
            (Sign::Yes, _) => Guess::Sure(client),
            (_, Sign::Yes) => Guess::Sure(server),
            (Sign::More, _) => Guess::Maybe(client),
            (_, Sign::More) => Guess::Maybe(server),
            (Sign::No, Sign::No) if signs::answers_encryption_request(first) => Guess::Maybe(server),
            (Sign::No, Sign::No) => Guess::No,
        }
    }

    fn connection(&self, role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(parser::PgsqlParser::new(role, transport, mid_stream, settings))
    }
}

#[cfg(test)]
mod tests;
