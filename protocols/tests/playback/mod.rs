//! Plays what both ends of a connection said into a `Connection`, cut into pieces, with or without losses.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::{collections::BTreeMap, ops::Range};

use trilobite_protocols::{Connection, Exchange, Name, Role, Settings, Side, Transport};

/// What one end sent in one go.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) side: Side,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn sent(bytes: impl Into<Vec<u8>>) -> Turn {
    Turn { side: Side::Sent, bytes: bytes.into() }
}

pub(crate) fn received(bytes: impl Into<Vec<u8>>) -> Turn {
    Turn { side: Side::Received, bytes: bytes.into() }
}

/// How lost bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The record of the call was lost: the next one shows it by its position.
    Record,
    /// The call's record has its length and no bytes.
    Bytes,
}

pub(crate) struct Playback {
    pub(crate) connection: Connection,
    positions: [u64; 2],
    time: u64,
}

impl Playback {
    pub(crate) fn new(role: Option<Role>, transport: Transport, mid_stream: bool, asked: &[Name]) -> Self {
        let connection = Connection::new(role, transport, mid_stream, asked, &Settings::default());
        Self { connection, positions: [0; 2], time: 1 }
    }

    pub(crate) fn client(asked: Name) -> Self {
        Self::new(Some(Role::Client), Transport::Stream, false, &[asked])
    }

    /// All pieces of a turn have one time, so that exchanges do not depend on the cuts.
    pub(crate) fn play(&mut self, turn: &Turn, piece: &mut dyn FnMut() -> usize) {
        let mut rest = turn.bytes.as_slice();
        self.time += 1_000_000;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
            self.push(turn.side, now, now.len() as u64);
            rest = later;
        }
    }

    pub(crate) fn play_whole(&mut self, turn: &Turn) {
        self.play(turn, &mut || usize::MAX);
    }

    /// Plays a turn of which a range of bytes is missing.
    pub(crate) fn play_with_loss(&mut self, turn: &Turn, lost: Range<usize>, loss: Loss) {
        self.time += 1_000_000;
        let (before, missing, behind) =
            (&turn.bytes[..lost.start], (lost.end - lost.start) as u64, &turn.bytes[lost.end..]);
        if loss == Loss::Bytes {
            self.push(turn.side, before, before.len() as u64 + missing);
        } else {
            if !before.is_empty() {
                self.push(turn.side, before, before.len() as u64);
            }
            self.positions[usize::from(turn.side == Side::Received)] += missing;
        }
        if !behind.is_empty() {
            self.push(turn.side, behind, behind.len() as u64);
        }
    }

    pub(crate) fn exchanges(&mut self) -> Vec<Exchange> {
        std::iter::from_fn(|| self.connection.take_exchange()).collect()
    }

    pub(crate) fn finish(&mut self) {
        self.time += 1_000_000;
        self.connection.finish(self.time);
    }

    fn push(&mut self, side: Side, bytes: &[u8], length: u64) {
        let position = &mut self.positions[usize::from(side == Side::Received)];
        self.connection.push(side, *position, bytes, length, self.time);
        *position += length;
    }
}

/// The exchanges of a connection whose turns are cut into pieces of the given sizes.
pub(crate) fn exchanges(mut playback: Playback, turns: &[Turn], piece: &mut dyn FnMut() -> usize) -> Vec<Exchange> {
    for turn in turns {
        playback.play(turn, piece);
    }
    playback.finish();
    playback.exchanges()
}

/// The bytes of a recording's text: `\r`, `\n`, `\\` and `\xHH` are escapes.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        let (byte, used) = match (byte, behind) {
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', high, low, ..]) => {
                (u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap(), 3)
            }
            (byte, _) => (*byte, 0),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}

/// Turns of each connection of a recording.
pub(crate) fn connections(recording: &str) -> Vec<Vec<Turn>> {
    let mut connections: BTreeMap<u32, Vec<Turn>> = BTreeMap::new();
    for line in recording.lines().filter(|line| !line.starts_with('#')) {
        let (number, rest) = line.split_once(' ').unwrap();
        let turn = match rest.split_at(1) {
            (_, "") => continue,
            ("C", text) => sent(unescape(&text[1..])),
            (_, text) => received(unescape(&text[1..])),
        };
        connections.entry(number.parse().unwrap()).or_default().push(turn);
    }
    connections.into_values().collect()
}

#[derive(Default)]
pub(crate) struct Recording {
    /// What the client sent (`true`) or received.
    pub(crate) calls: Vec<(bool, Vec<u8>)>,
    pub(crate) log: Vec<String>,
}

/// Connections by their name: `NAME > bytes of the client`, `NAME < bytes of the server`, `NAME = line of the log`.
pub(crate) fn recordings(text: &str) -> BTreeMap<String, Recording> {
    let mut recordings: BTreeMap<String, Recording> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.splitn(3, ' ');
        let (name, kind, rest) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let recording = recordings.entry(name.to_owned()).or_default();
        match kind {
            "=" => recording.log.push(rest.to_owned()),
            _ => recording.calls.push((kind == ">", unescape(rest))),
        }
    }
    recordings
}
