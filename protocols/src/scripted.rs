//! Connections of tests: what client and server write, in pieces of any size and with bytes that were not captured.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::by_side::BySide;
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
    positions: BySide<u64>,
    pub(crate) time: u64,
}

impl Scripted {
    pub(crate) fn new(name: Name, role: Role, mid_stream: bool, settings: &Settings) -> Self {
        Self::on(Transport::Stream, name, role, mid_stream, settings)
    }

    pub(crate) fn on(transport: Transport, name: Name, role: Role, mid_stream: bool, settings: &Settings) -> Self {
        let connection = Connection::new(Some(role), transport, mid_stream, &[name], settings);
        Self { connection, role, positions: BySide::default(), time: 0 }
    }

    /// A call whose bytes were all seen.
    pub(crate) fn push(&mut self, side: Side, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.push_cut(side, bytes, bytes.len() as u64);
    }

    /// A call that moved `length` bytes, of which `copied` were seen.
    pub(crate) fn push_cut(&mut self, side: Side, copied: &[u8], length: u64) {
        self.time += 1_000_000;
        let position = self.advance(side, length);
        self.connection.push(side, position, copied, length, self.time);
    }

    /// These bytes were not seen.
    pub(crate) fn lose(&mut self, side: Side, bytes: impl AsRef<[u8]>) {
        self.advance(side, bytes.as_ref().len() as u64);
    }

    /// All of it was seen, in pieces of so many bytes.
    pub(crate) fn see(&mut self, written: &Written, piece: usize) {
        self.time += 1_000_000;
        let side = self.side(written);
        for piece in written.bytes.chunks(piece.max(1)) {
            let position = self.advance(side, piece.len() as u64);
            self.connection.push(side, position, piece, piece.len() as u64, self.time);
        }
    }

    /// Only its first `copied` bytes were seen.
    pub(crate) fn see_beginning(&mut self, written: &Written, copied: usize) {
        let copied = written.bytes.get(..copied.min(written.bytes.len())).unwrap_or_default();
        self.push_cut(self.side(written), copied, written.bytes.len() as u64);
    }

    /// Bytes in its middle were not seen.
    fn see_around(&mut self, written: &Written, from: Index, to: Index) {
        let length = written.bytes.len();
        let (from, to) = (from.index(length), to.index(length));
        let (before, rest) = written.bytes.split_at(from.min(to));
        let (_, behind) = rest.split_at(from.abs_diff(to));
        self.see(&Written { by_client: written.by_client, bytes: before.to_vec() }, usize::MAX);
        self.advance(self.side(written), from.abs_diff(to) as u64);
        self.see(&Written { by_client: written.by_client, bytes: behind.to_vec() }, usize::MAX);
    }

    /// Its record was lost.
    pub(crate) fn miss(&mut self, written: &Written) {
        self.time += 1_000_000;
        self.lose(self.side(written), &written.bytes);
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
        self.connection.finish(self.time);
    }

    fn side(&self, written: &Written) -> Side {
        if written.by_client == (self.role == Role::Client) { Side::Sent } else { Side::Received }
    }

    /// Where the next bytes of the side begin.
    fn advance(&mut self, side: Side, bytes: u64) -> u64 {
        let position = self.positions.of_mut(side);
        std::mem::replace(position, *position + bytes)
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
    scripted.connection.finish(scripted.time);
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

/// Exchanges of a script of which some was missed, behind a `beginning` that was seen.
pub(crate) fn exchanges_in_part(
    name: Name,
    role: Role,
    beginning: &[Written],
    script: &[Written],
    visibilities: &[Visibility],
) -> Vec<Exchange> {
    let mut scripted = Scripted::new(name, role, false, &Settings::default());
    beginning.iter().for_each(|written| scripted.see(written, usize::MAX));
    scripted.see_in_part(script, visibilities);
    scripted.take_exchanges()
}

/// Exchanges of a connection that is followed from a write of its script on.
pub(crate) fn exchanges_of_joined(
    name: Name,
    role: Role,
    script: &[Written],
    joined_at: Index,
    visibilities: &[Visibility],
) -> Vec<Exchange> {
    let mut scripted = Scripted::new(name, role, true, &Settings::default());
    scripted.see_in_part(&script[joined_at.index(script.len())..], visibilities);
    scripted.take_exchanges()
}

/// Writes of either end, of some of which only the first half is seen.
pub(crate) fn hostile_writes(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<(Written, bool)>> {
    let write = (any::<bool>(), bytes, 0_usize..3)
        .prop_map(|(by_client, bytes, visibility)| (Written { by_client, bytes }, visibility == 0));
    proptest::collection::vec(write, 1..60)
}

/// Plays hostile writes behind the `beginning` of a connection, or of a joined one.
pub(crate) fn assert_memory_is_bounded(name: Name, beginning: &[Written], joined: bool, writes: &[(Written, bool)]) {
    let mut scripted = Scripted::new(name, Role::Client, joined, &Settings::default());
    if !joined {
        beginning.iter().for_each(|written| scripted.see(written, usize::MAX));
    }
    for (written, is_halved) in writes {
        match is_halved {
            true => scripted.see_beginning(written, written.bytes.len() / 2),
            false => scripted.see(written, usize::MAX),
        }
        assert!(scripted.connection.memory() < 4 << 20, "{}", scripted.connection.memory());
    }
    scripted.connection.finish(scripted.time);
}
