//! Redis, RESP2 and RESP3: commands with their keys, types of replies, texts of errors. Published messages are exchanges of
//! the command PUSH PUB.

mod arguments;
mod commands;
mod mask;
mod parser;
mod reply;
mod signs;
mod value;

use crate::{Guess, Name, Parser, Protocol, Role, Settings, Side, Transport};
use signs::FirstElement;

/// Redis.
pub struct Redis;

impl Protocol for Redis {
    fn name(&self) -> Name {
        Name::Redis
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        let client = Role::of_asking(side);
        let server = Role::of_answering(side);
        match first.first() {
            Some(b'*') => match signs::first_of_array(first) {
                FirstElement::Command => Guess::Sure(client),
                FirstElement::Text => Guess::Maybe(server),
                FirstElement::TooShort => Guess::Maybe(client),
                FirstElement::Other if signs::may_be_reply(first) => Guess::Maybe(server),
                FirstElement::Other => Guess::No,
            },
            Some(byte) if byte.is_ascii_alphabetic() && signs::may_be_inline_command(first) => Guess::Maybe(client),
            Some(_) if signs::may_be_reply(first) => Guess::Maybe(server),
            _ => Guess::No,
        }
    }

    fn connection(&self, role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(parser::RedisParser::new(role, transport, mid_stream, settings))
    }
}

#[cfg(test)]
mod tests;
