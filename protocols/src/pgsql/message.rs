//! Cuts the bytes of a side into messages: a type, a length, and the beginning of a body. A body is never kept whole, so
//! that a row of 100 MB costs nothing, and a gap inside it leaves the side in step.

use super::signs::{self, Sign};
use super::wire::{Sender, be32, header_of};
use crate::Times;
use crate::limits::TEXT_MAX;

/// Type of the messages without a type byte that a connection begins with.
pub(super) const STARTUP: u8 = 0;
/// Type of the single byte that answers a request for encryption; its body is that byte.
pub(super) const ENCRYPTION: u8 = 1;

/// Longest message that the server accepts.
const LENGTH_MAX: u32 = 0x3fff_ffff;
/// Bytes kept of an error, a portal's and a statement's name, a command tag.
const ERROR_BYTES: usize = 2048;
const NAMES_BYTES: usize = 512;
const TAG_BYTES: usize = 128;

/// A message, with as much of its body as its type needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
    /// Bytes of the body are missing at its end.
    pub(super) cut: bool,
    /// Bytes on the wire.
    pub(super) length: u64,
    /// When its first and last byte were seen.
    pub(super) at: Times,
}

/// What the cutter has understood last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) kind: u8,
    /// Bytes before the body.
    pub(super) header: usize,
    /// The body, or what has come of it, begins here. Else it goes on.
    pub(super) is_beginning: bool,
}

/// What the next bytes of a side are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// So many bytes are a part of a message.
    Part(usize),
    /// So many bytes end a message.
    Message(usize, Message),
    NeedMore,
    /// So many bytes are not understood.
    Skip(usize),
    /// No message begins here.
    Broken,
}

#[derive(Debug)]
struct Body {
    message: Message,
    left: u64,
    keep: usize,
}

#[derive(Debug)]
enum State {
    /// The first message of a client.
    Startup,
    /// A single byte answers.
    EncryptionAnswer,
    /// Between messages.
    Header,
    Body(Body),
    /// Behind a gap: a message is searched for.
    Searching,
}

#[derive(Debug)]
pub(super) struct MessageCutter {
    sender: Sender,
    state: State,
    /// What `cut` has understood last.
    pub(super) taken: Taken,
}

impl MessageCutter {
    pub(super) fn new(sender: Sender, mid_stream: bool) -> Self {
        let state = match sender {
            _ if mid_stream => State::Searching,
            Sender::Client => State::Startup,
            Sender::Server => State::Header,
        };
        Self { sender, state, taken: Taken::default() }
    }

    /// The client has asked for encryption: the next byte is the answer.
    pub(super) fn expect_encryption_answer(&mut self) {
        if matches!(self.state, State::Header) {
            self.state = State::EncryptionAnswer;
        }
    }

    /// The server has refused encryption: another startup message follows.
    pub(super) fn expect_startup(&mut self) {
        self.state = State::Startup;
    }

    pub(super) fn cut(&mut self, bytes: &[u8], at: Times) -> Cut {
        match &mut self.state {
            State::Startup => match signs::startup(bytes) {
                Sign::Yes => self.begin(STARTUP, 0, bytes, at),
                Sign::More => Cut::NeedMore,
                // The connection was open before, or a proxy took the startup message.
                Sign::No => {
                    self.state = State::Searching;
                    self.search_in(bytes, at)
                }
            },
            State::EncryptionAnswer => {
                self.state = State::Header;
                match bytes.first() {
                    // Servers before 7.0 answer with an error.
                    Some(b'E') => self.header(bytes, at),
                    Some(byte) => {
                        self.taken = Taken { kind: ENCRYPTION, header: 1, is_beginning: true };
                        let body = vec![*byte];
                        Cut::Message(1, Message { kind: ENCRYPTION, body, cut: false, length: 1, at })
                    }
                    None => Cut::NeedMore,
                }
            }
            State::Header => self.header(bytes, at),
            State::Body(_) => self.body(bytes, at),
            State::Searching => self.search_in(bytes, at),
        }
    }

    /// So many bytes are missing. Gives the message that ends in the gap; `false`: a message must be searched for.
    pub(super) fn gap(&mut self, bytes: u64, at: Times) -> (Option<Message>, bool) {
        let State::Body(body) = &mut self.state else {
            self.state = State::Searching;
            return (None, false);
        };
        body.message.cut |= body.message.body.len() < body.keep;
        body.keep = 0;
        body.message.at.last = at.last;
        if bytes < body.left {
            body.left -= bytes;
            return (None, true);
        }
        let in_step = bytes == body.left;
        let next = if in_step { State::Header } else { State::Searching };
        match std::mem::replace(&mut self.state, next) {
            State::Body(body) => (Some(body.message), in_step),
            _ => (None, in_step),
        }
    }

    pub(super) fn memory(&self) -> usize {
        match &self.state {
            State::Body(body) => body.message.body.capacity(),
            _ => 0,
        }
    }

    fn header(&mut self, bytes: &[u8], at: Times) -> Cut {
        let Some((kind, length)) = header_of(bytes) else {
            return match bytes.first() {
                Some(kind) if !is_kind(*kind, self.sender) => self.broken(),
                _ => Cut::NeedMore,
            };
        };
        if !is_kind(kind, self.sender) || !(4..=LENGTH_MAX).contains(&length) {
            return self.broken();
        }
        self.begin(kind, 1, bytes, at)
    }

    fn broken(&mut self) -> Cut {
        self.state = State::Searching;
        Cut::Broken
    }

    /// Begins the message whose length stands behind `type_bytes` bytes.
    fn begin(&mut self, kind: u8, type_bytes: usize, bytes: &[u8], at: Times) -> Cut {
        let Some(length) = be32(bytes, type_bytes) else { return Cut::NeedMore };
        let header = type_bytes + 4;
        let message = Message { kind, body: Vec::new(), cut: false, length: u64::from(length) + type_bytes as u64, at };
        let left = u64::from(length).saturating_sub(4);
        self.state = State::Body(Body { message, left, keep: kept(kind, self.sender) });
        let cut = self.body(bytes.get(header..).unwrap_or_default(), at);
        self.taken = Taken { kind, header, is_beginning: true };
        match cut {
            Cut::Message(taken, message) => Cut::Message(header + taken, message),
            Cut::Part(taken) => Cut::Part(header + taken),
            _ => Cut::Part(header),
        }
    }

    fn body(&mut self, bytes: &[u8], at: Times) -> Cut {
        let State::Body(body) = &mut self.state else { return Cut::NeedMore };
        self.taken = Taken { kind: body.message.kind, header: 0, is_beginning: false };
        let taken = usize::try_from(body.left).unwrap_or(usize::MAX).min(bytes.len());
        let room = body.keep.saturating_sub(body.message.body.len()).min(taken);
        body.message.body.extend_from_slice(bytes.get(..room).unwrap_or_default());
        body.message.cut |= body.keep > 0 && room < taken;
        body.left -= taken as u64;
        body.message.at.last = at.last;
        if body.left > 0 {
            return Cut::Part(taken);
        }
        match std::mem::replace(&mut self.state, State::Header) {
            State::Body(body) => Cut::Message(taken, body.message),
            _ => Cut::Part(taken),
        }
    }

    fn search_in(&mut self, bytes: &[u8], at: Times) -> Cut {
        for skipped in 0..bytes.len() {
            let rest = bytes.get(skipped..).unwrap_or_default();
            match signs::message(rest, self.sender) {
                Sign::No => {}
                Sign::More if skipped == 0 => return Cut::NeedMore,
                Sign::More => return Cut::Skip(skipped),
                Sign::Yes => {
                    self.state = State::Header;
                    return if skipped == 0 { self.header(bytes, at) } else { Cut::Skip(skipped) };
                }
            }
        }
        Cut::Skip(bytes.len())
    }
}

fn is_kind(kind: u8, sender: Sender) -> bool {
    match sender {
        Sender::Client => b"QPBEDSHCFdcfpX".contains(&kind),
        Sender::Server => b"RSKZTDCEN123nstIAVGHWdcv".contains(&kind),
    }
}

/// Bytes that a message of this type needs of its body. Passwords and rows are not kept.
fn kept(kind: u8, sender: Sender) -> usize {
    match (sender, kind) {
        (Sender::Client, b'Q') => TEXT_MAX,
        (Sender::Client, b'P') => TEXT_MAX + NAMES_BYTES,
        (Sender::Client, b'B' | b'E' | b'D' | b'C') => NAMES_BYTES,
        (Sender::Client, STARTUP) => 4,
        (Sender::Server, b'E') => ERROR_BYTES,
        (Sender::Server, b'C') => TAG_BYTES,
        _ => 0,
    }
}
