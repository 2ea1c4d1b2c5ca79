//! Cuts the bytes of a side into packets, with the beginning of each. A packet is never kept whole, so that a row of 100 MB
//! costs nothing, and a gap inside it leaves the side in step.

use super::command::Command;
use super::signs;
use super::wire::{FULL, HEADER, Sender, Sign, header_of};
use crate::Times;
use crate::limits::TEXT_MAX;

/// Bytes of a payload that come together: what is fixed in a packet is never cut.
const HEAD: usize = 64;
/// Bytes kept of an error, which has at most 512 of text.
const ERROR_BYTES: usize = 1024;
/// Room for the attributes before a statement.
const ATTRIBUTES_BYTES: usize = 1024;
const ERROR: u8 = 0xff;
const END: u8 = 0xfe;

/// A packet, or several that continue each other, with the beginning of the payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Its number, and that of the last packet that continues it.
    pub(super) sequence: u8,
    pub(super) last_sequence: u8,
    pub(super) body: Vec<u8>,
    /// The first byte of the payload, also where nothing is kept of it.
    pub(super) first: Option<u8>,
    /// Bytes of the payload are missing at the end of `body`.
    pub(super) cut: bool,
    /// Bytes of the payload.
    pub(super) length: u64,
    /// Bytes on the wire.
    pub(super) bytes: u64,
    /// When its first and last byte were seen.
    pub(super) at: Times,
}

/// What the cutter has understood last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes before the payload.
    pub(super) header: usize,
    /// The payload begins here. Else it goes on.
    pub(super) is_beginning: bool,
    pub(super) sequence: u8,
    pub(super) first: Option<u8>,
    pub(super) length: u64,
}

/// What the next bytes of a side are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// So many bytes are a part of a packet.
    Part(usize),
    /// So many bytes end a packet.
    Packet(usize, Packet),
    NeedMore,
    /// So many bytes are not understood.
    Skip(usize),
    /// No packet begins here.
    Broken,
}

#[derive(Debug)]
struct Body {
    packet: Packet,
    /// Bytes left of the packet on the wire.
    left: u32,
    /// Another one continues it.
    is_full: bool,
    keep: usize,
}

#[derive(Debug)]
enum State {
    /// Between packets.
    Header,
    Body(Body),
    /// Between a packet and the one that continues it.
    Continued(Body),
    /// Behind a gap: a command is searched for; of the server's bytes nothing is believed before the next turn.
    Searching,
}

#[derive(Debug)]
pub(super) struct PacketCutter {
    sender: Sender,
    state: State,
    /// The server sends rows: only what ends them is kept.
    pub(super) in_rows: bool,
    /// What `cut` has understood last.
    pub(super) taken: Taken,
}

impl PacketCutter {
    pub(super) fn new(sender: Sender, mid_stream: bool) -> Self {
        let state = if mid_stream { State::Searching } else { State::Header };
        Self { sender, state, in_rows: false, taken: Taken::default() }
    }

    pub(super) fn is_searching(&self) -> bool {
        matches!(self.state, State::Searching)
    }

    /// A packet is to be searched for.
    pub(super) fn search(&mut self) {
        self.state = State::Searching;
        self.in_rows = false;
    }

    /// The next bytes begin a packet.
    pub(super) fn expect_packet(&mut self) {
        self.state = State::Header;
    }

    pub(super) fn cut(&mut self, bytes: &[u8], at: Times) -> Cut {
        match &mut self.state {
            State::Header => self.begin(bytes, at),
            State::Body(_) => self.go_on(bytes, at, 0),
            State::Continued(_) => self.resume(bytes, at),
            State::Searching if self.sender == Sender::Server => Cut::Skip(bytes.len()),
            State::Searching => self.search_in(bytes, at),
        }
    }

    /// So many bytes are missing. Gives the packet that ends in the gap; `false`: a packet must be searched for.
    pub(super) fn gap(&mut self, bytes: u64, at: Times) -> (Option<Packet>, bool) {
        let State::Body(body) = &mut self.state else {
            self.search();
            return (None, false);
        };
        body.packet.cut |= body.keep > 0;
        body.keep = 0;
        body.packet.at.last = at.last;
        let Some(left) = u64::from(body.left).checked_sub(bytes) else {
            // Where the packet that follows begins is not known.
            let is_full = body.is_full;
            let state = std::mem::replace(&mut self.state, State::Searching);
            self.in_rows = false;
            return match state {
                State::Body(body) if !is_full => (Some(body.packet), false),
                _ => (None, false),
            };
        };
        body.left = u32::try_from(left).unwrap_or(body.left);
        if body.left > 0 {
            return (None, true);
        }
        (self.end_body(), true)
    }

    pub(super) fn memory(&self) -> usize {
        match &self.state {
            State::Body(body) | State::Continued(body) => body.packet.body.capacity(),
            State::Header | State::Searching => 0,
        }
    }

    fn begin(&mut self, bytes: &[u8], at: Times) -> Cut {
        let Some((length, sequence)) = header_of(bytes) else { return Cut::NeedMore };
        let payload = bytes.get(HEADER..).unwrap_or_default();
        let first = payload.first().copied().filter(|_| length > 0);
        if self.sender == Sender::Client && sequence == 0 {
            match first {
                Some(command) if Command::is_known(command) => {}
                None if length > 0 => return Cut::NeedMore,
                _ => return Cut::Broken,
            }
        }
        let is_error = self.sender == Sender::Server && first == Some(ERROR);
        let together = if is_error { ERROR_BYTES } else { HEAD };
        if payload.len() < together.min(length as usize) {
            return Cut::NeedMore;
        }
        let packet =
            Packet { sequence, last_sequence: sequence, body: Vec::new(), first, cut: false, length: 0, bytes: 0, at };
        let keep = self.kept(sequence, first);
        self.state = State::Body(Body { packet, left: length, is_full: length == FULL, keep });
        self.taken = Taken { header: HEADER, is_beginning: true, sequence, first, length: length.into() };
        self.go_on(payload, at, HEADER)
    }

    /// The packet that continues a full one.
    fn resume(&mut self, bytes: &[u8], at: Times) -> Cut {
        let Some((length, sequence)) = header_of(bytes) else { return Cut::NeedMore };
        match std::mem::replace(&mut self.state, State::Searching) {
            State::Continued(mut body) if sequence == body.packet.last_sequence.wrapping_add(1) => {
                body.packet.last_sequence = sequence;
                body.left = length;
                body.is_full = length == FULL;
                self.state = State::Body(body);
                self.go_on(bytes.get(HEADER..).unwrap_or_default(), at, HEADER)
            }
            _ => Cut::Broken,
        }
    }

    /// More of the payload, behind `header` bytes.
    fn go_on(&mut self, bytes: &[u8], at: Times, header: usize) -> Cut {
        let State::Body(body) = &mut self.state else { return Cut::NeedMore };
        let is_beginning = self.taken.is_beginning && header > 0 && body.packet.bytes == 0;
        self.taken = Taken { header, is_beginning, ..self.taken };
        let taken = bytes.len().min(body.left as usize);
        let room = body.keep.saturating_sub(body.packet.body.len()).min(taken);
        body.packet.body.extend_from_slice(bytes.get(..room).unwrap_or_default());
        body.packet.cut |= body.keep > 0 && room < taken;
        body.packet.length += taken as u64;
        body.packet.bytes += (header + taken) as u64;
        body.packet.at.last = at.last;
        body.left -= taken as u32;
        if body.left > 0 {
            return Cut::Part(header + taken);
        }
        match self.end_body() {
            Some(packet) => Cut::Packet(header + taken, packet),
            None => Cut::Part(header + taken),
        }
    }

    fn end_body(&mut self) -> Option<Packet> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Body(body) if body.is_full => {
                self.state = State::Continued(body);
                None
            }
            State::Body(body) => Some(body.packet),
            _ => None,
        }
    }

    /// Bytes that are needed of the payload. Rows, parameters and passwords are not kept.
    fn kept(&self, sequence: u8, first: Option<u8>) -> usize {
        match (self.sender, first) {
            (Sender::Client, Some(command)) if sequence == 0 => match Command::from_byte(command) {
                Some(Command::Query | Command::Prepare) => TEXT_MAX + ATTRIBUTES_BYTES,
                Some(Command::InitDb | Command::FieldList | Command::CreateDb | Command::DropDb) => 512,
                _ => HEAD,
            },
            (Sender::Client, _) => HEAD,
            (Sender::Server, Some(ERROR)) => ERROR_BYTES,
            (Sender::Server, Some(END)) => HEAD,
            (Sender::Server, _) if self.in_rows => 0,
            // The greeting's version is in front of its flags.
            (Sender::Server, _) if sequence == 0 => 256,
            (Sender::Server, _) => HEAD,
        }
    }

    fn search_in(&mut self, bytes: &[u8], at: Times) -> Cut {
        for skipped in 0..bytes.len() {
            match signs::command(bytes.get(skipped..).unwrap_or_default()) {
                Sign::No => {}
                Sign::More if skipped == 0 => return Cut::NeedMore,
                Sign::More => return Cut::Skip(skipped),
                Sign::Yes => {
                    self.state = State::Header;
                    return if skipped == 0 { self.begin(bytes, at) } else { Cut::Skip(skipped) };
                }
            }
        }
        Cut::Skip(bytes.len())
    }
}
