//! `Connection`: finds the protocol of a connection by its first bytes, gives both sides to its parser, and is sure only
//! once an answer has fitted a request.

use crate::candidate::{Candidate, Gaps, Piece, Positions};
use crate::first_bytes::{FirstBytes, Fit, Judgement, fitting};
use crate::limits::UNCONFIRMED_SKIP_MAX;
use crate::{Exchange, Masked, Name, Protocol, Role, Settings, Side, Transport, infer};

/// What is to be captured of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet: more of its first bytes are needed.
    Undecided,
    /// An answer has fitted a request of this protocol.
    Parse(Name),
    /// Nothing is to be parsed any more, e.g. after an upgrade.
    Lengths,
    /// No protocol that was asked for; which one it is, where that is known.
    Ignore(Option<&'static str>),
}

/// One connection of a process, from its bytes to its exchanges. Bytes cut in any way give the same exchanges.
pub struct Connection {
    role: Option<Role>,
    transport: Transport,
    mid_stream: bool,
    /// Its first bytes were not seen.
    joined: bool,
    asked: Vec<&'static dyn Protocol>,
    settings: Settings,
    phase: Phase,
    /// Gaps of candidates that were dropped.
    gaps: Gaps,
}

enum Phase {
    /// No protocol fits yet.
    Undecided(FirstBytes),
    /// One or more fit; none is confirmed.
    Candidates(Vec<Candidate>),
    Confirmed(Box<Candidate>),
    /// Its last exchanges may still be taken.
    Lengths(Box<Candidate>),
    Ignored(Option<&'static str>),
}

impl Connection {
    /// A connection of which nothing was seen yet. `role`: where the kernel knows it. `mid_stream`: it was open before.
    pub fn new(
        role: Option<Role>,
        transport: Transport,
        mid_stream: bool,
        asked: &[Name],
        settings: &Settings,
    ) -> Self {
        let from = if mid_stream { Positions::ANY } else { Positions::BEGINNING };
        Self {
            role,
            transport,
            mid_stream,
            joined: mid_stream,
            asked: crate::asked(asked),
            settings: settings.clone(),
            phase: Phase::Undecided(FirstBytes::from_positions(from)),
            gaps: Gaps::default(),
        }
    }

    /// A call of the process moved `length` bytes at `position` of a side, of which `bytes` were copied, at `time` (boot
    /// clock, nanoseconds).
    pub fn push(&mut self, side: Side, position: u64, bytes: &[u8], length: u64, time: u64) {
        self.push_piece(Piece { side, position, bytes, length: length.max(bytes.len() as u64), time });
    }

    fn push_piece(&mut self, piece: Piece<'_>) {
        match &mut self.phase {
            Phase::Undecided(first) => {
                first.keep(piece);
                self.decide();
            }
            Phase::Candidates(_) => self.push_to_candidates(piece),
            Phase::Confirmed(candidate) => {
                if !candidate.push(piece) || candidate.parser.lengths_only() {
                    self.follow_lengths();
                }
            }
            Phase::Lengths(_) | Phase::Ignored(_) => {}
        }
    }

    /// The connection has ended.
    pub fn finish(&mut self, time: u64) {
        match &mut self.phase {
            Phase::Candidates(candidates) => {
                candidates.iter_mut().for_each(|candidate| candidate.finish(time));
                self.confirm();
            }
            Phase::Confirmed(candidate) => candidate.finish(time),
            Phase::Undecided(_) | Phase::Lengths(_) | Phase::Ignored(_) => {}
        }
    }

    /// The next exchange, in the order of the answers.
    pub fn take_exchange(&mut self) -> Option<Exchange> {
        match &mut self.phase {
            Phase::Confirmed(candidate) | Phase::Lengths(candidate) => {
                let exchange = candidate.parser.take_exchange()?;
                Some(Exchange { mid_stream: self.mid_stream, ..exchange })
            }
            Phase::Undecided(_) | Phase::Candidates(_) | Phase::Ignored(_) => None,
        }
    }

    /// Copies of what was understood since the last call, where `Settings::masks` asks for them; none before a protocol is
    /// confirmed.
    pub fn take_masked(&mut self) -> Vec<Masked> {
        match &mut self.phase {
            Phase::Confirmed(candidate) | Phase::Lengths(candidate) => candidate.take_masked(),
            Phase::Undecided(_) | Phase::Candidates(_) | Phase::Ignored(_) => Vec::new(),
        }
    }

    /// Position up to which it is decided what of the side's bytes is understood; none before a protocol is confirmed.
    pub fn parsed_until(&self, side: Side) -> Option<u64> {
        match &self.phase {
            Phase::Confirmed(candidate) => Some(candidate.parsed_until(side)),
            Phase::Lengths(_) => Some(u64::MAX),
            Phase::Undecided(_) | Phase::Candidates(_) | Phase::Ignored(_) => None,
        }
    }

    /// What is to be captured of it.
    pub fn verdict(&self) -> Verdict {
        match &self.phase {
            Phase::Undecided(_) | Phase::Candidates(_) => Verdict::Undecided,
            Phase::Confirmed(candidate) => Verdict::Parse(candidate.name),
            Phase::Lengths(_) => Verdict::Lengths,
            Phase::Ignored(protocol) => Verdict::Ignore(*protocol),
        }
    }

    /// Whether one call of the process may have several messages.
    pub fn has_many_in_a_call(&self) -> bool {
        self.chosen().is_some_and(|candidate| candidate.parser.has_many_in_a_call())
    }

    /// The role of the process: by its messages, else as the kernel said.
    pub fn role(&self) -> Option<Role> {
        match &self.phase {
            Phase::Confirmed(candidate) | Phase::Lengths(candidate) => Some(candidate.role),
            _ => self.role,
        }
    }

    /// Bytes that it holds.
    pub fn memory(&self) -> usize {
        let asked = self.asked.capacity() * size_of::<&dyn Protocol>();
        let phase = match &self.phase {
            Phase::Undecided(first) => first.memory(),
            Phase::Candidates(candidates) => candidates.iter().map(Candidate::memory).sum(),
            Phase::Confirmed(candidate) | Phase::Lengths(candidate) => candidate.memory(),
            Phase::Ignored(_) => 0,
        };
        size_of::<Self>() + asked + phase
    }

    /// Messages that were given up: unanswered, answers without a request, not understood.
    pub fn lost(&self) -> u64 {
        self.chosen().map_or(0, |candidate| candidate.parser.lost())
    }

    /// Bytes that were sent and not seen.
    pub fn gaps(&self) -> Gaps {
        let mut gaps = self.gaps;
        gaps += self.chosen().map(Candidate::gaps).unwrap_or_default();
        gaps
    }

    fn chosen(&self) -> Option<&Candidate> {
        match &self.phase {
            Phase::Confirmed(candidate) | Phase::Lengths(candidate) => Some(candidate),
            Phase::Candidates(candidates) => candidates.first(),
            Phase::Undecided(_) | Phase::Ignored(_) => None,
        }
    }

    fn decide(&mut self) {
        let Phase::Undecided(first) = &mut self.phase else { return };
        self.joined |= first.begins_with_gap();
        let judged = if self.joined {
            first.judge_last(&self.asked)
        } else {
            first.judge_beginning(&self.asked, self.transport)
        };
        match judged {
            Judgement::Wait if first.is_full(self.joined) => self.ignore(None),
            Judgement::Wait => {}
            Judgement::Foreign(protocol) => self.ignore(protocol),
            Judgement::Fits(fitting) => {
                let first = first.drain(self.joined);
                let mut candidates: Vec<Candidate> =
                    fitting.into_iter().map(|fit| self.candidate(fit, first.from)).collect();
                self.gaps += first.not_copied;
                let time = first.pieces.first().map_or(0, |kept| kept.piece().time);
                for side in [Side::Sent, Side::Received] {
                    let missing = *first.missing.of(side);
                    // What was open before is in the middle of something; else bytes of this protocol were missed.
                    if missing > 0 || self.joined && !self.mid_stream {
                        candidates.iter_mut().for_each(|candidate| candidate.begin_after_loss(side, missing, time));
                    }
                }
                self.phase = Phase::Candidates(candidates);
                for kept in &first.pieces {
                    self.push_piece(kept.piece());
                }
            }
        }
    }

    fn candidate(&self, fit: Fit, from: Positions) -> Candidate {
        let role = self.role.filter(|_| !fit.is_sure).unwrap_or(fit.role);
        Candidate::new(fit.protocol, role, self.transport, self.mid_stream, from, &self.settings)
    }

    fn push_to_candidates(&mut self, piece: Piece<'_>) {
        let mut dropped_gaps = Gaps::default();
        let mut foreign = None;
        let Phase::Candidates(candidates) = &self.phase else { return };
        let known: Vec<Name> = candidates.iter().map(|candidate| candidate.name).collect();
        let joining = if self.joined { self.also_fitting(piece, &known) } else { Vec::new() };
        let Phase::Candidates(candidates) = &mut self.phase else { return };
        candidates.extend(joining);
        candidates.retain_mut(|candidate| {
            let is_mine = candidate.push(piece) && candidate.skipped() <= UNCONFIRMED_SKIP_MAX;
            if !is_mine {
                dropped_gaps = candidate.gaps();
                foreign = foreign.or(candidate.parser.foreign());
            }
            is_mine
        });
        if candidates.is_empty() {
            self.gaps += dropped_gaps;
            if foreign.is_some() {
                self.ignore(foreign);
            } else if self.joined {
                let mut first = FirstBytes::from_positions(Positions::of_piece(piece));
                first.keep(piece);
                self.phase = Phase::Undecided(first);
                self.decide_again(&known);
            } else {
                self.ignore(infer::foreign(piece.bytes));
            }
            return;
        }
        self.confirm();
    }

    /// What a joined connection was taken for may have been a part of a body: a sure sign of another protocol is followed too.
    fn also_fitting(&self, piece: Piece<'_>, known: &[Name]) -> Vec<Candidate> {
        let guess = |protocol: &'static dyn Protocol| protocol.infer(piece.bytes, piece.side);
        fitting(&self.asked, &guess)
            .into_iter()
            .filter(|fit| fit.is_sure && !known.contains(&fit.protocol.name()))
            .map(|fit| self.candidate(fit, Positions::of_piece(piece)))
            .collect()
    }

    /// What did not turn out to be one protocol may be another, from this piece on; the same one is not tried again on it.
    fn decide_again(&mut self, tried: &[Name]) {
        let Phase::Undecided(first) = &mut self.phase else { return };
        match first.judge_last(&self.asked) {
            Judgement::Fits(fitting) if fitting.iter().any(|fit| tried.contains(&fit.protocol.name())) => {}
            Judgement::Wait => {}
            Judgement::Foreign(_) | Judgement::Fits(_) => self.decide(),
        }
    }

    fn confirm(&mut self) {
        let Phase::Candidates(candidates) = &mut self.phase else { return };
        let Some(index) = candidates.iter().position(|candidate| candidate.parser.confirmed()) else { return };
        let candidate = candidates.swap_remove(index);
        let lengths = candidate.parser.lengths_only();
        self.phase = Phase::Confirmed(Box::new(candidate));
        // Only a joined connection may have to judge again.
        self.asked = Vec::new();
        if lengths {
            self.follow_lengths();
        }
    }

    fn follow_lengths(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ignored(None));
        self.phase = match phase {
            Phase::Confirmed(candidate) => Phase::Lengths(candidate),
            other => other,
        };
    }

    fn ignore(&mut self, protocol: Option<&'static str>) {
        self.phase = Phase::Ignored(protocol);
        self.asked = Vec::new();
    }
}

#[cfg(test)]
mod tests;
