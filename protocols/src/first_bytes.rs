//! `FirstBytes`: what was seen of a connection whose protocol is not known, and which protocols it may be of.

use crate::by_side::BySide;
use crate::candidate::{Gaps, Piece, Positions};
use crate::limits::{FIRST_BYTES, JOINED_BYTES_MAX, JOINED_PIECES_MAX, UNDECIDED_BYTES_MAX, UNDECIDED_PIECES_MAX};
use crate::stream::Placement;
use crate::{Guess, Name, Protocol, Role, Side, Transport, infer};

/// Fewer first bytes than these decide nothing, unless they are sure or the other side has spoken too.
const ENOUGH_TO_JUDGE: usize = 16;

/// A protocol that the first bytes may be of.
pub(crate) struct Fit {
    pub(crate) protocol: &'static dyn Protocol,
    /// The role of the process, as its bytes say.
    pub(crate) role: Role,
    pub(crate) is_sure: bool,
}

pub(crate) enum Judgement {
    Wait,
    Fits(Vec<Fit>),
    Foreign(Option<&'static str>),
}

pub(crate) struct KeptPiece {
    side: Side,
    position: u64,
    bytes: Vec<u8>,
    length: u64,
    time: u64,
}

impl KeptPiece {
    pub(crate) fn piece(&self) -> Piece<'_> {
        Piece { side: self.side, position: self.position, bytes: &self.bytes, length: self.length, time: self.time }
    }
}

/// What was seen of a connection whose protocol is not known.
pub(crate) struct FirstBytes {
    pieces: Vec<KeptPiece>,
    /// Where the kept pieces begin.
    from: Positions,
    /// Where they end.
    next: Positions,
    /// Bytes that are missing on each side before the last piece.
    missing: BySide<u64>,
    /// Bytes of dropped pieces that were not copied.
    not_copied: Gaps,
    bytes: usize,
    seen: usize,
}

/// The pieces that a candidate reads first.
pub(crate) struct FirstPieces {
    pub(crate) pieces: Vec<KeptPiece>,
    pub(crate) from: Positions,
    /// Bytes that are missing before them on each side.
    pub(crate) missing: BySide<u64>,
    /// Bytes of pieces before them that were not copied.
    pub(crate) not_copied: Gaps,
}

impl FirstBytes {
    pub(crate) fn from_positions(from: Positions) -> Self {
        Self {
            pieces: Vec::new(),
            from,
            next: from,
            missing: BySide::default(),
            not_copied: Gaps::default(),
            bytes: 0,
            seen: 0,
        }
    }

    pub(crate) fn keep(&mut self, piece: Piece<'_>) {
        let placement = Placement::advance(self.next.of_mut(piece.side), piece.position, piece.length);
        *self.missing.of_mut(piece.side) += placement.gap;
        self.seen += usize::from(!piece.bytes.is_empty());
        self.bytes += piece.bytes.len();
        self.pieces.push(KeptPiece {
            side: piece.side,
            position: piece.position,
            bytes: piece.bytes.to_vec(),
            length: piece.length,
            time: piece.time,
        });
    }

    pub(crate) fn is_full(&self, joined: bool) -> bool {
        let (bytes, pieces) =
            if joined { (JOINED_BYTES_MAX, JOINED_PIECES_MAX) } else { (UNDECIDED_BYTES_MAX, UNDECIDED_PIECES_MAX) };
        self.bytes > bytes || self.seen > pieces
    }

    pub(crate) fn memory(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.capacity() + size_of::<KeptPiece>()).sum()
    }

    pub(crate) fn begins_with_gap(&self) -> bool {
        [Side::Sent, Side::Received].into_iter().any(|side| {
            let first = self.pieces.iter().find(|piece| piece.side == side);
            first.is_some_and(|piece| piece.position > 0 || piece.bytes.is_empty())
        })
    }

    /// Hands over what a candidate is to read: all, or of a joined connection the piece that `judge_last` has left.
    pub(crate) fn drain(&mut self, joined: bool) -> FirstPieces {
        let pieces = std::mem::take(&mut self.pieces);
        if !joined {
            return FirstPieces { pieces, from: self.from, missing: BySide::default(), not_copied: Gaps::default() };
        }
        let mut from = self.next;
        if let Some(kept) = pieces.first() {
            *from.of_mut(kept.side) = Some(kept.position);
        }
        FirstPieces { pieces, from, missing: self.missing, not_copied: self.not_copied }
    }

    /// The first bytes of a side, up to the first gap.
    fn beginning(&self, side: Side) -> Vec<u8> {
        let mut first = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.side == side) {
            let known = first.len() as u64;
            if piece.position > known || first.len() >= FIRST_BYTES {
                break;
            }
            let repeated = usize::try_from(known - piece.position).unwrap_or(usize::MAX);
            first.extend_from_slice(piece.bytes.get(repeated..).unwrap_or_default());
            if piece.length > piece.bytes.len() as u64 {
                break;
            }
        }
        first
    }

    /// Both sides from their first byte on.
    pub(crate) fn judge_beginning(&self, asked: &[&'static dyn Protocol], transport: Transport) -> Judgement {
        let sides = [Side::Sent, Side::Received].map(|side| (side, self.beginning(side)));
        let spoken: Vec<&(Side, Vec<u8>)> = sides.iter().filter(|(_, first)| !first.is_empty()).collect();
        let longest = spoken.iter().map(|(_, first)| first.len()).max().unwrap_or_default();
        if spoken.is_empty() {
            return Judgement::Wait;
        }
        let guess = |protocol: &'static dyn Protocol| {
            spoken.iter().map(|(side, first)| protocol.infer(first, *side)).reduce(both_sides).unwrap_or(Guess::No)
        };
        let fitting = fitting(asked, &guess);
        let few = longest < ENOUGH_TO_JUDGE && spoken.len() < 2 && transport == Transport::Stream;
        if few && !fitting.iter().any(|fit| fit.is_sure) {
            return Judgement::Wait;
        }
        if !fitting.is_empty() {
            return Judgement::Fits(fitting);
        }
        let foreign = || spoken.iter().find_map(|(_, first)| infer::foreign(first));
        Judgement::Foreign(supported(&guess).or_else(foreign))
    }

    /// A joined connection: messages mostly begin where a call begins. What came before is dropped.
    pub(crate) fn judge_last(&mut self, asked: &[&'static dyn Protocol]) -> Judgement {
        let last = self.pieces.len().saturating_sub(1);
        for dropped in self.pieces.drain(..last) {
            self.not_copied.record(dropped.length - dropped.bytes.len() as u64);
        }
        let Some(piece) = self.pieces.first().filter(|piece| !piece.bytes.is_empty()) else { return Judgement::Wait };
        let guess = |protocol: &'static dyn Protocol| protocol.infer(&piece.bytes, piece.side);
        let fitting = fitting(asked, &guess);
        if !fitting.is_empty() {
            return Judgement::Fits(fitting);
        }
        // In the middle of a connection only what cannot be a part of a body is believed.
        let foreign = infer::foreign(&piece.bytes).filter(|protocol| infer::is_certain(protocol));
        match supported(&guess).or(foreign) {
            Some(protocol) => Judgement::Foreign(Some(protocol)),
            None => Judgement::Wait,
        }
    }
}

/// The protocols that are not excluded; only the sure ones where there are any.
pub(crate) fn fitting(asked: &[&'static dyn Protocol], guess: &dyn Fn(&'static dyn Protocol) -> Guess) -> Vec<Fit> {
    let mut fitting: Vec<Fit> = asked
        .iter()
        .filter_map(|protocol| match guess(*protocol) {
            Guess::No => None,
            Guess::Maybe(role) => Some(Fit { protocol: *protocol, role, is_sure: false }),
            Guess::Sure(role) => Some(Fit { protocol: *protocol, role, is_sure: true }),
        })
        .collect();
    if fitting.iter().any(|fit| fit.is_sure) {
        fitting.retain(|fit| fit.is_sure);
    }
    fitting
}

/// The supported protocol, asked for or not, that is certain.
fn supported(guess: &dyn Fn(&'static dyn Protocol) -> Guess) -> Option<&'static str> {
    let certain = crate::all().into_iter().find(|protocol| matches!(guess(*protocol), Guess::Sure(_)));
    certain.map(|protocol| protocol.name()).map(Name::as_str)
}

/// Both sides must be of the protocol, and agree about who asks.
fn both_sides(one: Guess, other: Guess) -> Guess {
    match (one, other) {
        (Guess::No, _) | (_, Guess::No) => Guess::No,
        (Guess::Sure(one), Guess::Sure(other)) if one != other => Guess::No,
        (Guess::Sure(role), _) | (_, Guess::Sure(role)) => Guess::Sure(role),
        (Guess::Maybe(role), Guess::Maybe(_)) => Guess::Maybe(role),
    }
}
