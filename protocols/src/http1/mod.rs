//! HTTP/1.0 and 1.1: pipelining, interim answers, chunks, bodies whose bytes were not captured, upgrades.

mod body;
mod columns;
mod half;
mod head;
mod mask;
mod parser;

use self::head::{may_be_request, may_be_status, request_line, status_line, trimmed};
use self::parser::HttpConnection;
use crate::{Guess, Name, Parser, Protocol, Role, Settings, Side, Transport};

/// HTTP/1.
pub struct Http1;

impl Protocol for Http1 {
    fn name(&self) -> Name {
        Name::Http
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        let first = without_empty_lines(first);
        let line =
            first.iter().position(|byte| *byte == b'\n').map(|end| trimmed(first.get(..end).unwrap_or_default()));
        if let Some(line) = line {
            return if request_line(line).is_some() {
                Guess::Sure(Role::of_asking(side))
            } else if status_line(line).is_some() {
                Guess::Sure(Role::of_answering(side))
            } else {
                Guess::No
            };
        }
        if status_line(first.get(..12).unwrap_or_default()).is_some() {
            Guess::Sure(Role::of_answering(side))
        } else if may_be_request(first) {
            Guess::Maybe(Role::of_asking(side))
        } else if may_be_status(first) {
            Guess::Maybe(Role::of_answering(side))
        } else {
            Guess::No
        }
    }

    fn connection(&self, role: Role, _: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(HttpConnection::new(role, mid_stream, settings))
    }
}

/// Clients may send empty lines before a request (RFC 9112, 2.2).
fn without_empty_lines(bytes: &[u8]) -> &[u8] {
    let ends = bytes.iter().take(4).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes.get(ends..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
