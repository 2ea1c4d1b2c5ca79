//! One direction of a connection: the message that is being read, and what of the last bytes may be shown.

use std::ops::Range;

use super::body::Body;
use super::decoder::Decoder;
use crate::Times;
use crate::mask::fill;

/// A message behind its header.
pub(super) struct Message<H> {
    pub(super) header: H,
    pub(super) decoder: Option<Decoder>,
    /// Bytes of it that are still to come.
    left: u64,
    /// Bytes of it, with header and length.
    pub(super) bytes: u64,
    pub(super) at: Times,
}

impl<H> Message<H> {
    pub(super) fn new(header: H, header_bytes: usize, body: u64, decoder: Option<Decoder>, at: Times) -> Self {
        Self { header, decoder, left: body, bytes: header_bytes as u64 + body, at }
    }

    /// Header and body; no body where it is not decoded, or not what it seemed to be.
    pub(super) fn into_parts(self) -> (H, Option<Body>) {
        (self.header, self.decoder.filter(Decoder::fits).map(|decoder| decoder.body))
    }
}

pub(super) enum State<H> {
    /// Between messages.
    Header,
    Body(Box<Message<H>>),
    /// Behind a gap.
    Searching,
}

pub(super) struct Half<H> {
    pub(super) state: State<H>,
    masks: bool,
    /// Of the bytes that were read last: the header, and the parts behind it that are not shown.
    header: usize,
    hidden: Vec<Range<usize>>,
}

impl<H> Half<H> {
    pub(super) fn new(mid_stream: bool, masks: bool) -> Self {
        let state = if mid_stream { State::Searching } else { State::Header };
        Self { state, masks, header: 0, hidden: Vec::new() }
    }

    /// A message begins whose header was read.
    pub(super) fn begin(
        &mut self,
        message: Message<H>,
        header: usize,
        bytes: &[u8],
        at: Times,
    ) -> (usize, Option<Message<H>>) {
        self.state = State::Body(Box::new(message));
        let (taken, message) = self.go_on(bytes.get(header..).unwrap_or_default(), at);
        self.header = header;
        (header + taken, message)
    }

    /// More of the message's body: how much, and the message if it has ended.
    pub(super) fn go_on(&mut self, bytes: &[u8], at: Times) -> (usize, Option<Message<H>>) {
        self.header = 0;
        self.hidden.clear();
        let State::Body(message) = &mut self.state else { return (0, None) };
        let taken = bytes.len().min(usize::try_from(message.left).unwrap_or(usize::MAX));
        let body = bytes.get(..taken).unwrap_or_default();
        message.left -= taken as u64;
        message.at.last = at.last;
        match &mut message.decoder {
            Some(decoder) => {
                decoder.read(body);
                if self.masks {
                    self.hidden.extend_from_slice(decoder.hidden());
                }
            }
            None if self.masks => self.hidden.push(0..taken),
            None => {}
        }
        (taken, self.ended())
    }

    /// So many bytes are missing: the message that ends in the gap, and whether the next one begins behind it.
    pub(super) fn gap(&mut self, bytes: u64, at: Times) -> (Option<Message<H>>, bool) {
        let State::Body(message) = &mut self.state else {
            self.state = State::Searching;
            return (None, false);
        };
        let missing = bytes.min(message.left);
        if let Some(decoder) = &mut message.decoder {
            decoder.gap(missing);
        }
        message.left -= missing;
        message.at.last = at.last;
        let in_step = missing == bytes;
        let ended = self.ended();
        if !in_step {
            self.state = State::Searching;
        }
        (ended, in_step)
    }

    /// Overwrites in the bytes that were read last what is not shown.
    pub(super) fn mask(&self, taken: &mut [u8]) {
        let body = taken.get_mut(self.header..).unwrap_or_default();
        for hidden in &self.hidden {
            fill(body.get_mut(hidden.clone()).unwrap_or_default());
        }
    }

    pub(super) fn memory(&self) -> usize {
        let decoder = match &self.state {
            State::Body(message) => size_of_val(&**message) + message.decoder.as_ref().map_or(0, Decoder::memory),
            State::Header | State::Searching => 0,
        };
        decoder + self.hidden.capacity() * size_of::<Range<usize>>()
    }

    fn ended(&mut self) -> Option<Message<H>> {
        if !matches!(&self.state, State::Body(message) if message.left == 0) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Header) {
            State::Body(message) => Some(*message),
            State::Header | State::Searching => None,
        }
    }
}
