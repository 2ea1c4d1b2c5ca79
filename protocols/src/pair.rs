//! Pairs requests with answers: in order (`InOrder`) or by id (`ById`). After a loss no pair is given out before it is
//! certain that both sides are in step again: a wrong pair is worse than a missing one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::Times;
use crate::limits::{EARLY_MAX, IDLE_CAPACITY, QUIET, UNANSWERED_MAX, WAITING_BYTES_MAX, WAITING_MAX};

struct Waiting<Q> {
    request: Q,
    size: usize,
    asked: u64,
    /// Asked while it was not certain how many answers belong to requests before it.
    unproven: bool,
    /// No other request was under way when it was asked.
    alone: bool,
}

/// Pairs answers with requests in the order of the requests.
///
/// A *turn* begins with a request while no other waits. Clients send turns of one request, or batches; few send a request
/// between the answers of others (they *overlap*). After a loss, or when a connection was joined, requests may be waiting
/// that were never seen. Their answers would then be too many for the turn. So pairs made after a loss are withheld until the
/// next turn has an answer; a surplus answer drops them, and so does one whose loss shows only then. Clients that overlap give
/// no such proof: they are in step again after `QUIET`.
pub(crate) struct InOrder<Q, A> {
    waiting: VecDeque<Waiting<Q>>,
    /// Pairs that the next turn proves.
    withheld: VecDeque<(Q, A)>,
    withheld_pairs: usize,
    ready: VecDeque<(Q, A)>,
    /// An answer that was recorded shortly before its request.
    early: Option<(A, usize, u64)>,
    /// Bytes of the requests that wait, and of the early answer.
    size: usize,
    /// Bytes of the pairs that are withheld.
    withheld_size: usize,
    unproven: bool,
    /// A turn has begun without a surplus answer: its first answer proves what is withheld.
    proves: bool,
    /// A connection that was joined: a turn of one request is believed, until a surplus answer or a loss.
    lenient: bool,
    overlaps: bool,
    overlaps_since: u64,
    /// As it was when the last answer came: what came since may be due to a lost answer that was not noticed yet.
    overlapped: bool,
    answered_in_turn: bool,
    pipelined: bool,
    /// Answers that belong to requests that were dropped.
    owed: u64,
    last: u64,
    paired: bool,
    lost: u64,
}

impl<Q, A> InOrder<Q, A> {
    pub(crate) fn new(mid_stream: bool) -> Self {
        Self {
            waiting: VecDeque::new(),
            withheld: VecDeque::new(),
            withheld_pairs: 0,
            ready: VecDeque::new(),
            early: None,
            size: 0,
            withheld_size: 0,
            unproven: mid_stream,
            proves: false,
            lenient: mid_stream,
            overlaps: false,
            overlaps_since: 0,
            overlapped: false,
            answered_in_turn: false,
            pipelined: false,
            owed: 0,
            last: 0,
            paired: false,
            lost: 0,
        }
    }

    /// A complete request; `size` is what it holds on the heap.
    pub(crate) fn ask(&mut self, request: Q, size: usize, at: Times) {
        let size = size + size_of::<Waiting<Q>>();
        let quiet = at.first.saturating_sub(self.last) >= QUIET;
        self.seen(at);
        if let Some((answer, answer_size, time)) = self.early.take() {
            self.size -= answer_size;
            if !self.unproven && at.first <= time.saturating_add(EARLY_MAX) {
                self.paired = true;
                self.ready.push_back((request, answer));
                return;
            }
            self.lose_surplus();
        }
        self.pipelined |= !self.unproven && !self.waiting.is_empty();
        if self.waiting.is_empty() {
            self.begin_turn(quiet);
        } else if self.answered_in_turn && !self.overlaps {
            self.overlaps = true;
            self.overlaps_since = at.first;
        }
        if self.unproven && self.overlaps {
            self.lost += 1;
            self.owed += 1;
            return;
        }
        if self.waiting.len() >= WAITING_MAX || self.size + self.withheld_size + size > WAITING_BYTES_MAX {
            self.drop_waiting();
            self.lose_step();
            self.lost += 1;
            self.owed += 1;
            return;
        }
        let alone = self.waiting.is_empty();
        if let Some(before) = self.waiting.back_mut() {
            before.alone = false;
        }
        self.size += size;
        self.waiting.push_back(Waiting { request, size, asked: at.first, unproven: self.unproven, alone });
    }

    /// The request that the next answer belongs to, as far as is known.
    pub(crate) fn front(&self) -> Option<&Q> {
        self.waiting.front().map(|waiting| &waiting.request)
    }

    /// Whether `front` is certain.
    pub(crate) fn is_front_proven(&self) -> bool {
        self.waiting.front().is_some_and(|waiting| self.proves || !waiting.unproven)
    }

    /// The request that was asked last, if it still waits.
    pub(crate) fn newest_mut(&mut self) -> Option<&mut Q> {
        self.waiting.back_mut().map(|waiting| &mut waiting.request)
    }

    /// As `front`, to note with the request what is learned of it before its answer is complete.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Q> {
        self.waiting.front_mut().map(|waiting| &mut waiting.request)
    }

    /// A complete answer; `size` is what it holds on the heap.
    pub(crate) fn answer(&mut self, answer: A, size: usize, at: Times) {
        let size = size + size_of::<A>();
        self.seen(at);
        let since = self.overlaps_since;
        if !self.overlapped && at.last < since && self.waiting.get(1).is_none_or(|waiting| waiting.asked >= since) {
            // It had ended before the request that seemed to overlap with it; its last bytes were lost.
            self.overlaps = false;
            self.answered_in_turn = false;
        }
        self.overlapped = self.overlaps;
        self.prove();
        let Some(asked) = self.waiting.pop_front() else {
            if !self.unproven && self.early.is_none() {
                self.size += size;
                self.early = Some((answer, size, at.last));
            } else {
                if let Some((_, early_size, _)) = self.early.take() {
                    self.size -= early_size;
                    self.lose_surplus();
                }
                self.lose_surplus();
            }
            return;
        };
        self.size -= asked.size;
        self.answered_in_turn = true;
        self.paired = true;
        if !asked.unproven || (self.lenient && asked.alone) {
            self.ready.push_back((asked.request, answer));
            if asked.unproven {
                self.withheld_pairs += 1;
            }
        } else if self.withheld.len() < WAITING_MAX
            && self.size + self.withheld_size + asked.size + size <= WAITING_BYTES_MAX
        {
            self.withheld_size += asked.size + size;
            self.withheld_pairs += 1;
            self.withheld.push_back((asked.request, answer));
        } else {
            self.withheld_pairs += 1;
            self.lost += 1;
        }
    }

    /// An answer begins while no request waits. `false`: it is given up; `true`: its request may still be recorded, and the
    /// complete answer is for `answer_unasked`.
    pub(crate) fn begin_unasked(&mut self) -> bool {
        if self.unproven {
            self.lose_surplus();
        }
        !self.unproven
    }

    /// A complete answer that began, at a time, when no request waited. Requests that were asked since are not its request,
    /// but for one that was recorded late.
    pub(crate) fn answer_unasked(&mut self, answer: A, size: usize, began: u64, at: Times) {
        let latest = began.saturating_add(EARLY_MAX);
        if !self.unproven && self.waiting.front().is_none_or(|waiting| waiting.asked <= latest) {
            self.answer(answer, size, at);
            return;
        }
        self.seen(at);
        self.lose_surplus();
        for waiting in &mut self.waiting {
            waiting.unproven = true;
        }
    }

    /// An unknown number of requests was not seen.
    pub(crate) fn requests_lost(&mut self) {
        if let Some((_, size, _)) = self.early.take() {
            self.size -= size;
            self.lose_surplus();
        }
        self.lose_step();
    }

    /// An unknown number of answers was not seen.
    pub(crate) fn answers_lost(&mut self) {
        self.overlaps = self.overlapped;
        self.drop_waiting();
        self.requests_lost();
    }

    /// The connection has ended.
    pub(crate) fn finish(&mut self) {
        self.answers_lost();
        self.owed = 0;
    }

    pub(crate) fn take_pair(&mut self) -> Option<(Q, A)> {
        let pair = self.ready.pop_front();
        if self.ready.is_empty() && self.waiting.is_empty() {
            self.ready.shrink_to(IDLE_CAPACITY);
            self.waiting.shrink_to(IDLE_CAPACITY);
        }
        pair
    }

    /// An answer has fitted a request.
    pub(crate) fn has_paired(&self) -> bool {
        self.paired
    }

    /// A request did not wait for the answer to the one before it. Not counted after a loss: the answer may be among what is lost.
    pub(crate) fn has_pipelined(&self) -> bool {
        self.pipelined
    }

    /// Bytes of what waits.
    pub(crate) fn memory(&self) -> usize {
        let empty_places = self.waiting.capacity() - self.waiting.len();
        let pairs = self.withheld.capacity() - self.withheld.len() + self.ready.capacity();
        self.size + self.withheld_size + empty_places * size_of::<Waiting<Q>>() + pairs * size_of::<(Q, A)>()
    }

    /// Exchanges of which a half, or both halves, were given up.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn seen(&mut self, at: Times) {
        self.last = self.last.max(at.last);
    }

    fn begin_turn(&mut self, quiet: bool) {
        self.answered_in_turn = false;
        if quiet {
            self.overlaps = false;
            self.owed = 0;
        }
        self.proves = self.unproven && self.withheld_pairs > 0 && !self.overlaps;
    }

    /// The answers of the turn before were neither too many nor, as this answer shows, too few.
    fn prove(&mut self) {
        if !std::mem::take(&mut self.proves) || self.waiting.is_empty() {
            return;
        }
        self.unproven = false;
        self.withheld_pairs = 0;
        self.owed = 0;
        self.waiting.iter_mut().for_each(|waiting| waiting.unproven = false);
        self.withheld_size = 0;
        self.ready.append(&mut self.withheld);
        self.withheld = VecDeque::new();
    }

    fn drop_waiting(&mut self) {
        let dropped = self.waiting.len() as u64;
        self.lost += dropped;
        self.owed += dropped;
        self.waiting = VecDeque::new();
        self.size = self.early.as_ref().map_or(0, |(_, size, _)| *size);
    }

    fn drop_withheld(&mut self) {
        self.lost += self.withheld.len() as u64;
        self.withheld = VecDeque::new();
        self.withheld_size = 0;
        self.withheld_pairs = 0;
    }

    fn lose_step(&mut self) {
        self.drop_withheld();
        self.unproven = true;
        self.proves = false;
        self.lenient = false;
    }

    /// An answer without a request: more requests were missed than was known.
    fn lose_surplus(&mut self) {
        if self.owed > 0 {
            self.owed -= 1;
        } else {
            self.lost += 1;
        }
        let joined_between = self.lenient && !self.paired;
        self.lose_step();
        self.lenient = joined_between;
    }
}

/// Requests among which an answer without its whole id is searched.
const RECENT: usize = 64;

struct Identified<Q> {
    request: Q,
    size: usize,
    asked: u64,
    number: u64,
}

/// Pairs answers with requests by an id, in any order. Requests without an answer are given up after `UNANSWERED_MAX`, or
/// another time.
pub(crate) struct ById<K, Q> {
    unanswered_max: u64,
    waiting: HashMap<K, Identified<Q>>,
    /// By age; an entry whose number is not the waiting one's was answered.
    order: VecDeque<(K, u64)>,
    number: u64,
    size: usize,
    lost: u64,
}

impl<K: Clone + Eq + Hash, Q> ById<K, Q> {
    pub(crate) fn new() -> Self {
        Self::waiting_for(UNANSWERED_MAX)
    }

    /// Requests are given up after so many nanoseconds.
    pub(crate) fn waiting_for(unanswered_max: u64) -> Self {
        Self { unanswered_max, waiting: HashMap::new(), order: VecDeque::new(), number: 0, size: 0, lost: 0 }
    }

    /// The request that waits with an id.
    pub(crate) fn get(&self, id: &K) -> Option<&Q> {
        self.waiting.get(id).map(|waiting| &waiting.request)
    }

    /// A complete request; one with the id of a waiting one is its repetition. `size` is what it holds on the heap.
    pub(crate) fn ask(&mut self, id: K, request: Q, size: usize, at: Times) {
        self.give_up_before(at.last.saturating_sub(self.unanswered_max));
        if self.waiting.contains_key(&id) {
            return;
        }
        let size = size + size_of::<Identified<Q>>() + 2 * size_of::<(K, u64)>();
        while self.waiting.len() >= WAITING_MAX
            || self.order.len() >= 2 * WAITING_MAX
            || self.size + size > WAITING_BYTES_MAX
        {
            let Some(oldest) = self.order.pop_front() else { break };
            self.give_up(&oldest);
        }
        self.number += 1;
        self.size += size;
        self.order.push_back((id.clone(), self.number));
        self.waiting.insert(id, Identified { request, size, asked: at.last, number: self.number });
    }

    /// The request that an answer belongs to.
    pub(crate) fn answer(&mut self, id: &K, at: Times) -> Option<Q> {
        self.give_up_before(at.last.saturating_sub(self.unanswered_max));
        let found = self.waiting.remove(id);
        match &found {
            Some(found) => self.size -= found.size,
            None => self.lost += 1,
        }
        if self.waiting.is_empty() {
            self.order.clear();
            self.order.shrink_to(IDLE_CAPACITY);
            self.waiting.shrink_to(IDLE_CAPACITY);
        }
        found.map(|found| found.request)
    }

    /// The id of a request among the newest ones, for an answer that does not repeat all of it.
    pub(crate) fn find_recent(&self, is_asked: impl Fn(&K) -> bool) -> Option<K> {
        let recent = self.order.iter().rev().take(RECENT);
        recent.map(|(id, _)| id).find(|id| is_asked(id) && self.waiting.contains_key(id)).cloned()
    }

    /// The connection has ended.
    pub(crate) fn finish(&mut self) {
        self.lost += self.waiting.len() as u64;
        self.waiting.clear();
        self.order.clear();
        self.size = 0;
    }

    /// Bytes of what waits.
    pub(crate) fn memory(&self) -> usize {
        self.size
    }

    /// Requests without an answer and answers without a request.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn give_up_before(&mut self, time: u64) {
        while let Some(oldest) = self.order.front() {
            let waits = self.waiting.get(&oldest.0).filter(|waiting| waiting.number == oldest.1);
            if waits.is_some_and(|waiting| waiting.asked >= time) {
                return;
            }
            let oldest = oldest.clone();
            self.order.pop_front();
            self.give_up(&oldest);
        }
    }

    fn give_up(&mut self, (id, number): &(K, u64)) {
        if self.waiting.get(id).is_some_and(|waiting| waiting.number == *number)
            && let Some(waiting) = self.waiting.remove(id)
        {
            self.size -= waiting.size;
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests;
