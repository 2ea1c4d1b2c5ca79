//! Connections of tests: what client and server write, in pieces of any size and with bytes that were not seen.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::{Connection, Exchange, Name, Role, Settings, Side, Transport};

/// What one end writes at once.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) by_client: bool,
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.by_client { "client" } else { "server" };
        write!(f, "{end} {}", self.bytes.escape_ascii())
    }
}

pub(crate) fn client(bytes: impl Into<Vec<u8>>) -> Written {
    Written { by_client: true, bytes: bytes.into() }
}

pub(crate) fn server(bytes: impl Into<Vec<u8>>) -> Written {
    Written { by_client: false, bytes: bytes.into() }
}

/// A connection as the process with this role sees it. A millisecond passes with each call.
pub(crate) struct Scripted {
    pub(crate) connection: Connection,
    role: Role,
    sent: u64,
    received: u64,
    pub(crate) time: u64,
}

impl Scripted {
    pub(crate) fn new(name: Name, role: Role, mid_stream: bool, settings: &Settings) -> Self {
        let connection = Connection::new(Some(role), Transport::Stream, mid_stream, &[name], settings);
        Self { connection, role, sent: 0, received: 0, time: 1_000_000_000 }
    }

    /// All of it was seen, in pieces of so many bytes.
    pub(crate) fn see(&mut self, written: &Written, piece: usize) {
        self.time += 1_000_000;
        for piece in written.bytes.chunks(piece.max(1)) {
            let (side, position) = self.advance(written.by_client, piece.len());
            self.connection.push(side, position, piece, piece.len() as u64, self.time);
        }
    }

    /// Only its first `copied` bytes were seen.
    pub(crate) fn see_beginning(&mut self, written: &Written, copied: usize) {
        self.time += 1_000_000;
        let (side, position) = self.advance(written.by_client, written.bytes.len());
        let copied = written.bytes.get(..copied.min(written.bytes.len())).unwrap_or_default();
        self.connection.push(side, position, copied, written.bytes.len() as u64, self.time);
    }

    /// Bytes in its middle were not seen.
    fn see_around(&mut self, written: &Written, from: Index, to: Index) {
        let length = written.bytes.len();
        let (from, to) = (from.index(length), to.index(length));
        let (before, rest) = written.bytes.split_at(from.min(to));
        let (_, behind) = rest.split_at(from.abs_diff(to));
        self.see(&Written { by_client: written.by_client, bytes: before.to_vec() }, usize::MAX);
        self.advance(written.by_client, from.abs_diff(to));
        self.see(&Written { by_client: written.by_client, bytes: behind.to_vec() }, usize::MAX);
    }

    /// Its record was lost.
    pub(crate) fn miss(&mut self, written: &Written) {
        self.time += 1_000_000;
        self.advance(written.by_client, written.bytes.len());
    }

    /// Some of it was missed or not copied whole, as `visibilities` say.
    pub(crate) fn see_in_part(&mut self, script: &[Written], visibilities: &[Visibility]) {
        for (written, visibility) in script.iter().zip(visibilities.iter().cycle()) {
            match visibility {
                Visibility::Missed => self.miss(written),
                Visibility::Cut(index) => self.see_beginning(written, index.index(written.bytes.len() + 1)),
                Visibility::Holed(from, to) => self.see_around(written, *from, *to),
                Visibility::Seen => self.see(written, usize::MAX),
            }
        }
        self.connection.end(self.time);
    }

    fn advance(&mut self, by_client: bool, bytes: usize) -> (Side, u64) {
        let (side, position) = match by_client == (self.role == Role::Client) {
            true => (Side::Sent, &mut self.sent),
            false => (Side::Received, &mut self.received),
        };
        let before = *position;
        *position += bytes as u64;
        (side, before)
    }

    pub(crate) fn take_exchanges(&mut self) -> Vec<Exchange> {
        std::iter::from_fn(|| self.connection.take_exchange()).collect()
    }
}

/// What is seen of a write.
#[derive(Clone, Debug)]
pub(crate) enum Visibility {
    Seen,
    Missed,
    Cut(Index),
    Holed(Index, Index),
}

/// `losses`: how often records are lost.
pub(crate) fn visibilities(losses: u32) -> impl Strategy<Value = Vec<Visibility>> {
    let visibility = prop_oneof![
        6 => Just(Visibility::Seen),
        losses => Just(Visibility::Missed),
        1 => any::<Index>().prop_map(Visibility::Cut),
        losses => any::<(Index, Index)>().prop_map(|(from, to)| Visibility::Holed(from, to)),
    ];
    proptest::collection::vec(visibility, 20..60)
}

pub(crate) fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

/// Exchanges of a script, in pieces of so many bytes.
pub(crate) fn exchanges(name: Name, role: Role, script: &[Written], piece: usize) -> Vec<Exchange> {
    let mut scripted = Scripted::new(name, role, false, &Settings::default());
    script.iter().for_each(|written| scripted.see(written, piece));
    scripted.connection.end(scripted.time);
    scripted.take_exchanges()
}

/// The same in pieces of every size, and for both ends.
pub(crate) fn exchanges_in_any_pieces(name: Name, script: &[Written]) -> Vec<Exchange> {
    let whole = exchanges(name, Role::Client, script, usize::MAX);
    let longest = script.iter().map(|written| written.bytes.len()).max().unwrap_or(0);
    for piece in 1..=longest {
        assert_eq!(exchanges(name, Role::Client, script, piece), whole, "pieces of {piece}");
    }
    assert_eq!(exchanges(name, Role::Server, script, usize::MAX), whole, "as the server");
    whole
}
