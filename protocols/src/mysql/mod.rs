//! MySQL and MariaDB: statements, prepared ones too, and all other commands. One exchange a command; a login is one only if it
//! failed.

mod answer;
mod command;
mod exchange;
mod handshake;
mod mask;
mod packet;
mod parser;
mod server_error;
mod signs;
mod statement_text;
mod statements;
mod wire;

pub use command::command_name;

use crate::{Guess, Name, Parser, Protocol, Role, Settings, Side, Transport};
use wire::{HEADER, Sign};

/// MySQL.
pub struct Mysql;

impl Protocol for Mysql {
    fn name(&self) -> Name {
        Name::Mysql
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        let client = Role::of_asking(side);
        let server = Role::of_answering(side);
        if first.len() <= HEADER {
            return if signs::is_command_header(first) { Guess::Maybe(client) } else { Guess::No };
        }
        match (signs::greeting(first), signs::login(first), signs::command(first)) {
            (Sign::Yes, ..) => return Guess::Sure(server),
            (_, Sign::Yes, _) => return Guess::Sure(client),
            (_, _, Sign::Yes) if signs::is_certain(first) => return Guess::Sure(client),
            (_, _, Sign::Yes) => return Guess::Maybe(client),
            (_, Sign::More, _) | (.., Sign::More) => return Guess::Maybe(client),
            (Sign::More, ..) => return Guess::Maybe(server),
            (Sign::No, Sign::No, Sign::No) => {}
        }
        match (signs::certain_answer(first), signs::refusal(first)) {
            (Sign::Yes, _) => Guess::Sure(server),
            (Sign::More, _) | (_, Sign::More | Sign::Yes) => Guess::Maybe(server),
            _ if signs::may_be_status(first) => Guess::Maybe(server),
            _ => Guess::No,
        }
    }

    fn connection(&self, role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(parser::MysqlParser::new(role, transport, mid_stream, settings))
    }
}

#[cfg(test)]
mod tests;
