//! `Candidate`: a connection as one protocol reads it, with the unread bytes of both sides.

use std::ops::AddAssign;

use crate::by_side::BySide;
use crate::limits::UNREAD_MAX;
use crate::mask::MaskedParts;
use crate::stream::Stream;
use crate::{Masked, Name, Parser, Protocol, Role, Settings, Side, Step, Times, Transport};

/// What a call of the process moved, as the kernel recorded it.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) side: Side,
    /// Position of the first byte in the bytes of its side.
    pub(crate) position: u64,
    pub(crate) bytes: &'a [u8],
    /// Bytes that the call moved; those beyond `bytes` were not copied.
    pub(crate) length: u64,
    pub(crate) time: u64,
}

/// Bytes that were sent and not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Places where bytes are missing.
    pub count: u64,
    /// Bytes that are missing.
    pub bytes: u64,
}

impl Gaps {
    /// Counts a place where so many bytes are missing; 0: none are.
    pub(crate) fn record(&mut self, bytes: u64) {
        self.count += u64::from(bytes > 0);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl AddAssign for Gaps {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Positions of the next bytes of both sides; none: any is taken as it comes.
pub(crate) type Positions = BySide<Option<u64>>;

impl Positions {
    pub(crate) const BEGINNING: Self = Self { sent: Some(0), received: Some(0) };
    pub(crate) const ANY: Self = Self { sent: None, received: None };

    /// From this piece on.
    pub(crate) fn of_piece(piece: Piece<'_>) -> Self {
        let mut positions = Self::ANY;
        *positions.of_mut(piece.side) = Some(piece.position);
        positions
    }
}

pub(crate) struct Candidate {
    pub(crate) name: Name,
    pub(crate) role: Role,
    pub(crate) parser: Box<dyn Parser>,
    transport: Transport,
    streams: BySide<Stream>,
    /// When the last bytes of each side were seen.
    last_seen: BySide<u64>,
    gaps: Gaps,
    /// Bytes that the parser did not understand.
    skipped: u64,
    /// Copies of what the parser has understood, where they are asked for.
    masked: Option<MaskedParts>,
}

impl Candidate {
    /// A candidate that reads from these positions on, where they are known.
    pub(crate) fn new(
        protocol: &dyn Protocol,
        role: Role,
        transport: Transport,
        mid_stream: bool,
        from: Positions,
        settings: &Settings,
    ) -> Self {
        Self {
            name: protocol.name(),
            role,
            parser: protocol.connection(role, transport, mid_stream, settings),
            transport,
            streams: BySide { sent: Stream::from_position(from.sent), received: Stream::from_position(from.received) },
            last_seen: BySide::default(),
            gaps: Gaps::default(),
            skipped: 0,
            masked: settings.masks.then(MaskedParts::default),
        }
    }

    /// Reads what came; `false`: the connection does not speak this protocol.
    pub(crate) fn push(&mut self, piece: Piece<'_>) -> bool {
        let placement = self.streams.of_mut(piece.side).place(piece.position, piece.length);
        let before = std::mem::replace(self.last_seen.of_mut(piece.side), piece.time);
        if placement.gap > 0 {
            // Missing bytes are noticed when the next ones come: they may have been sent long before.
            let since = if before == 0 { piece.time } else { before };
            self.gap(piece.side, placement.gap, Times { first: since, last: piece.time });
        }
        let repeated = usize::try_from(placement.repeated).unwrap_or(usize::MAX);
        let bytes = piece.bytes.get(repeated..).unwrap_or_default();
        let end = piece.position.saturating_add(piece.bytes.len() as u64);
        let is_mine = match self.transport {
            Transport::Stream => self.parse(piece.side, bytes, end, piece.time),
            Transport::Datagram => self.parse_datagram(piece.side, bytes, end, piece.time),
        };
        let copied = placement.repeated.max(piece.bytes.len() as u64);
        if is_mine && piece.length > copied {
            self.gap(piece.side, piece.length - copied, Times { first: piece.time, last: piece.time });
        }
        is_mine
    }

    pub(crate) fn finish(&mut self, time: u64) {
        self.skipped += (self.streams.sent.clear() + self.streams.received.clear()) as u64;
        self.parser.finish(Times { first: time, last: time });
    }

    pub(crate) fn gaps(&self) -> Gaps {
        self.gaps
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(crate) fn memory(&self) -> usize {
        let masked = self.masked.as_ref().map_or(0, MaskedParts::memory);
        size_of::<Self>() + self.parser.memory() + self.streams.sent.memory() + self.streams.received.memory() + masked
    }

    /// Copies of what the parser has understood since the last call.
    pub(crate) fn take_masked(&mut self) -> Vec<Masked> {
        self.masked.as_mut().map(MaskedParts::drain).unwrap_or_default()
    }

    /// Position up to which the bytes of a side are understood, or given up.
    pub(crate) fn parsed_until(&self, side: Side) -> u64 {
        self.streams.of(side).parsed_until()
    }

    /// Bytes of the side were lost before the first ones that the candidate reads.
    pub(crate) fn begin_after_loss(&mut self, side: Side, missing: u64, time: u64) {
        self.gaps.record(missing);
        self.parser.gap(side, missing.max(1), Times { first: time, last: time });
    }

    /// Bytes are missing; the unread beginning of their message is lost with them.
    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        let unread = self.streams.of_mut(side).clear() as u64;
        self.skipped += unread;
        self.gaps.record(bytes);
        self.parser.gap(side, bytes + unread, at);
    }

    /// Without a copy while nothing is unread, which is so between messages. `end`: position behind the bytes.
    fn parse(&mut self, side: Side, bytes: &[u8], end: u64, time: u64) -> bool {
        let mut rest = bytes;
        if self.streams.of(side).is_empty() {
            while !rest.is_empty() {
                let step = self.parser.parse(side, rest, Times { first: time, last: time });
                keep_masked(&mut self.masked, &*self.parser, side, (rest, end), step);
                match self.taken(step, rest.len()) {
                    Taken::Bytes(taken) => rest = rest.get(taken..).unwrap_or_default(),
                    Taken::None => break,
                    Taken::NotMine => return false,
                }
            }
            self.streams.of_mut(side).append(rest, time);
        } else {
            self.streams.of_mut(side).append(rest, time);
            while !self.streams.of(side).is_empty() {
                let stream = self.streams.of(side);
                let (length, step) = (stream.unread().len(), self.parser.parse(side, stream.unread(), stream.times()));
                keep_masked(&mut self.masked, &*self.parser, side, (stream.unread(), end), step);
                match self.taken(step, length) {
                    Taken::Bytes(taken) => self.streams.of_mut(side).consume(taken),
                    Taken::None => break,
                    Taken::NotMine => return false,
                }
            }
        }
        if self.streams.of(side).unread().len() > UNREAD_MAX {
            let unread = self.streams.of_mut(side).clear() as u64;
            self.gap(side, unread, Times { first: time, last: time });
        }
        true
    }

    fn parse_datagram(&mut self, side: Side, bytes: &[u8], end: u64, time: u64) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let step = self.parser.parse(side, bytes, Times { first: time, last: time });
        keep_masked(&mut self.masked, &*self.parser, side, (bytes, end), step);
        match step {
            Step::Message { .. } => {}
            Step::NeedMore | Step::Skip { .. } => self.skipped += bytes.len() as u64,
            Step::NotMine => return false,
        }
        true
    }

    fn taken(&mut self, step: Step, given: usize) -> Taken {
        match step {
            Step::Message { bytes } => Taken::Bytes(bytes.clamp(1, given)),
            Step::Skip { bytes } => {
                let bytes = bytes.clamp(1, given);
                self.skipped += bytes as u64;
                Taken::Bytes(bytes)
            }
            Step::NeedMore => Taken::None,
            Step::NotMine => Taken::NotMine,
        }
    }
}

/// Keeps a copy of what the parser has just understood of the bytes, which end at a position of their side.
fn keep_masked(
    masked: &mut Option<MaskedParts>,
    parser: &dyn Parser,
    side: Side,
    (bytes, end): (&[u8], u64),
    step: Step,
) {
    let (Some(masked), Step::Message { bytes: taken }) = (masked, step) else { return };
    let mut copy = bytes.get(..taken.clamp(1, bytes.len())).unwrap_or_default().to_vec();
    parser.mask(side, &mut copy);
    masked.push(Masked { side, position: end.saturating_sub(bytes.len() as u64), bytes: copy });
}

enum Taken {
    Bytes(usize),
    None,
    NotMine,
}
