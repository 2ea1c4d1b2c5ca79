//! Plays what both ends of a connection said into a `Connection`, cut into pieces, with or without losses.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::ops::Range;

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
    pub(crate) settings: Settings,
    /// Most bytes that the connection held.
    pub(crate) memory: usize,
    positions: [u64; 2],
    time: u64,
}

impl Playback {
    pub(crate) fn new(role: Option<Role>, transport: Transport, mid_stream: bool, asked: &[Name]) -> Self {
        let settings = Settings::default();
        Self {
            connection: Connection::new(role, transport, mid_stream, asked, &settings),
            settings,
            memory: 0,
            positions: [0; 2],
            time: 1,
        }
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

    pub(crate) fn end(&mut self) {
        self.time += 1_000_000;
        self.connection.end(self.time);
    }

    fn push(&mut self, side: Side, bytes: &[u8], length: u64) {
        let position = &mut self.positions[usize::from(side == Side::Received)];
        self.connection.push(side, *position, bytes, length, self.time);
        *position += length;
        self.memory = self.memory.max(self.connection.memory());
    }
}

/// The exchanges of a connection whose turns are cut into pieces of the given sizes.
pub(crate) fn exchanges(mut playback: Playback, turns: &[Turn], piece: &mut dyn FnMut() -> usize) -> Vec<Exchange> {
    for turn in turns {
        playback.play(turn, piece);
    }
    playback.end();
    playback.exchanges()
}
