//! HTTP/2 without encryption, or decrypted, and gRPC on it: prior knowledge, and upgrades from HTTP/1.1.

mod block;
mod fields;
mod frames;
mod grpc;
mod hpack;
mod huffman;
mod mask;
mod parser;
mod redaction;
mod static_table;
mod stream;
mod streams;
mod upgrade;

use self::fields::Fields;
use self::frames::{Chain, Frame, HEADER_BYTES, Kind, PREFACE, chain};
use self::hpack::Table;
use self::parser::Http2Connection;
use self::redaction::Redaction;
pub(crate) use self::upgrade::{UpgradedRequest, upgraded};
use crate::{Guess, Name, Parser, Protocol, Role, Settings, Side, Transport};

/// HTTP/2, with the gRPC calls in it.
pub struct Http2;

/// The gRPC calls of HTTP/2 alone.
pub struct Grpc;

impl Protocol for Http2 {
    fn name(&self) -> Name {
        Name::Http2
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        infer(first, side)
    }

    fn connection(&self, role: Role, _: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(Http2Connection::new(role, mid_stream, settings, false))
    }
}

impl Protocol for Grpc {
    fn name(&self) -> Name {
        Name::Grpc
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        infer(first, side)
    }

    fn connection(&self, role: Role, _: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser> {
        Box::new(Http2Connection::new(role, mid_stream, settings, true))
    }
}

/// Bytes of the preface that no request of HTTP/1 begins with.
const PREFACE_BEGINNING: usize = 14;

fn infer(first: &[u8], side: Side) -> Guess {
    let length = first.len().min(PREFACE.len());
    if first.get(..length) == PREFACE.get(..length) {
        let role = Role::of_asking(side);
        return if length < PREFACE_BEGINNING { Guess::Maybe(role) } else { Guess::Sure(role) };
    }
    if begins_as_server(first) {
        return Guess::Maybe(Role::of_answering(side));
    }
    match asks_in_the_middle(first) {
        Some(true) => Guess::Sure(Role::of_asking(side)),
        Some(false) => Guess::Sure(Role::of_answering(side)),
        None => Guess::No,
    }
}

/// A server begins with SETTINGS (RFC 9113, 3.4); in the middle of a connection both ends may send them.
fn begins_as_server(first: &[u8]) -> bool {
    Frame::read(first).is_some_and(|frame| frame.kind == Kind::Settings && frame.is_plausible() && frame.length <= 60)
        && first.get(4).is_some_and(|flags| *flags == 0)
}

/// Whether a call in the middle of a connection has a head in it, and of which direction. A call that begins with frames shows it by
/// the fields that only requests, or only answers, have; encoders send most of them as entries of the static table.
fn asks_in_the_middle(call: &[u8]) -> Option<bool> {
    if chain(call) != Chain::Frames {
        return None;
    }
    let mut rest = call;
    while let Some(frame) = Frame::read(rest) {
        let whole = rest.get(..frame.total())?;
        if frame.kind == Kind::Headers {
            let fragments = block::fragments(whole)?;
            let mut fields = Fields::default();
            let mut table = Table::new(true, Redaction::new(&Settings::default()));
            let _ = table.decode(&block::joined(whole, &fragments), None, |field| fields.add(field));
            if fields.method.is_some() || fields.status.is_some() {
                return Some(fields.method.is_some());
            }
        }
        rest = rest.get(frame.total().max(HEADER_BYTES)..)?;
    }
    None
}

#[cfg(test)]
mod tests;
