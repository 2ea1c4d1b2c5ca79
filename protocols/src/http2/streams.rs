//! The streams of a connection that have not ended. Ids are never used twice, so that no loss pairs a request with another
//! one's answer.

use std::collections::{HashMap, VecDeque};

use super::fields::Fields;
use super::redaction::Redaction;
use super::stream::Stream;
use crate::exchange::ExchangeQueue;
use crate::limits::{IDLE_CAPACITY, UNANSWERED_MAX, WAITING_BYTES_MAX, WAITING_MAX};
use crate::{Exchange, Times};

/// What a place in the table takes beside the stream.
const PLACE: usize = size_of::<(u32, Stream)>() / 4 + 2 * size_of::<u32>();

/// Ids of ended streams that wait to be taken out of the order.
const ENDED_MAX: usize = 64;

pub(super) struct Streams {
    open: HashMap<u32, Stream>,
    /// By age; those that have ended are taken out when they come to the front.
    order: VecDeque<u32>,
    /// The newest request that was seen. A client numbers them upwards.
    newest: u32,
    /// Open streams whose request was not seen.
    unasked: usize,
    size: usize,
    /// When streams that may have ended are looked through.
    doubtful_until: Option<u64>,
    finished: ExchangeQueue,
    redaction: Redaction,
    paired: bool,
    lost: u64,
}

impl Streams {
    pub(super) fn new(redaction: Redaction) -> Self {
        Self {
            open: HashMap::new(),
            order: VecDeque::new(),
            newest: 0,
            unasked: 0,
            size: 0,
            doubtful_until: None,
            finished: ExchangeQueue::default(),
            redaction,
            paired: false,
            lost: 0,
        }
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.open.get_mut(&id)
    }

    /// A head or trailers of a request, in so many bytes.
    pub(super) fn ask(&mut self, id: u32, fields: Fields, bytes: usize, ends: bool, at: Times) {
        let is_known = self.open.get(&id).is_some_and(|stream| stream.request.fields.is_some());
        // Trailers of a request whose head was not seen.
        if !is_known && (id <= self.newest && id % 2 == 1 || !fields.may_be_head()) {
            return;
        }
        self.give_up_doubtful(at.last);
        if !is_known && id % 2 == 1 {
            self.newest = id;
            self.drop_unasked();
        }
        self.add(id, true, fields, bytes, at);
        self.change(id, |stream| stream.request.is_complete = ends);
        self.finish_if_answered(id);
    }

    /// A head or trailers of an answer.
    pub(super) fn answer(&mut self, id: u32, mut fields: Fields, bytes: usize, ends: bool, at: Times) {
        let is_asked = self.open.get(&id).is_some_and(|stream| stream.request.fields.is_some());
        if !is_asked && (id <= self.newest || id.is_multiple_of(2)) {
            self.lost += u64::from(fields.status.is_some() && !fields.is_interim());
            return;
        }
        if fields.is_interim() {
            // They count for the final one, which says the status.
            fields = Fields::default();
        }
        self.paired |= is_asked;
        self.add(id, false, fields, bytes, at);
        if ends {
            self.end(id, false);
        }
    }

    fn add(&mut self, id: u32, asks: bool, fields: Fields, bytes: usize, at: Times) {
        if !self.open.contains_key(&id) {
            self.make_room();
            self.order.push_back(id);
            self.open.insert(id, Stream::default());
            self.size += PLACE + Stream::default().memory();
            self.unasked += 1;
        }
        let was_unasked = self.open.get(&id).is_some_and(|stream| stream.request.fields.is_none());
        self.unasked -= usize::from(asks && was_unasked);
        self.change(id, |stream| {
            stream.doubtful_since = None;
            let half = stream.half(asks);
            half.note(bytes, at);
            match &mut half.fields {
                Some(head) => head.append(fields),
                None => half.fields = Some(fields),
            }
            stream.count_messages();
        });
    }

    /// Changes a stream, whose memory may change with it.
    pub(super) fn change(&mut self, id: u32, change: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let before = stream.memory();
        change(stream);
        self.size = (self.size + stream.memory()).saturating_sub(before);
    }

    /// The direction has ended.
    pub(super) fn end(&mut self, id: u32, asks: bool) {
        self.change(id, |stream| stream.half(asks).is_complete = true);
        self.finish_if_answered(id);
    }

    /// Some answers end before their request has; and some are recorded before it.
    fn finish_if_answered(&mut self, id: u32) {
        if self.open.get(&id).is_some_and(|stream| stream.answer.is_complete && stream.request.fields.is_some()) {
            self.paired = true;
            self.finish(id, None);
        }
    }

    /// The stream was ended by either side.
    pub(super) fn reset(&mut self, id: u32, asks: bool, reason: &str, bytes: usize, at: Times) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.half(asks).note(bytes, at);
        stream.answer.last = stream.answer.last.max(at.last);
        if stream.request.fields.is_some() {
            self.finish(id, Some(format!("RST_STREAM {reason}")));
        } else {
            self.drop_stream(id);
            self.lost += 1;
        }
    }

    /// The server will not answer requests above `last`.
    pub(super) fn go_away(&mut self, last: u32, reason: &str, at: Times) {
        let mut refused: Vec<u32> = self.open.keys().copied().filter(|id| *id > last && id % 2 == 1).collect();
        refused.sort_unstable();
        for id in refused {
            let Some(stream) = self.open.get_mut(&id).filter(|stream| stream.request.fields.is_some()) else {
                continue;
            };
            stream.answer.last = at.last;
            self.finish(id, Some(format!("GOAWAY {reason}")));
        }
    }

    /// Frames of this direction were missed.
    pub(super) fn miss(&mut self, asks: bool, at: Times) {
        for stream in self.open.values_mut() {
            let half = stream.half(asks);
            half.is_holed |= !half.is_complete;
            if !asks {
                stream.doubtful_since = stream.doubtful_since.or(Some(at.last));
            }
        }
        if !asks && !self.open.is_empty() {
            self.doubtful_until = self.doubtful_until.or(Some(at.last.saturating_add(UNANSWERED_MAX)));
        }
    }

    /// The connection has ended.
    pub(super) fn finish_all(&mut self) {
        self.lost += self.open.len() as u64;
        self.open = HashMap::new();
        self.order = VecDeque::new();
        (self.size, self.unasked) = (0, 0);
    }

    pub(super) fn take_exchange(&mut self) -> Option<Exchange> {
        self.finished.pop()
    }

    /// An answer has fitted a request.
    pub(super) fn has_paired(&self) -> bool {
        self.paired
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn memory(&self) -> usize {
        let places = self.open.capacity() - self.open.len();
        self.size
            + places * size_of::<(u32, Stream)>()
            + self.order.capacity() * size_of::<u32>()
            + self.finished.memory()
    }

    fn finish(&mut self, id: u32, reason: Option<String>) {
        if let Some(stream) = self.drop_stream(id) {
            self.finished.push(stream.into_exchange(reason, &self.redaction));
        }
    }

    fn drop_stream(&mut self, id: u32) -> Option<Stream> {
        let stream = self.open.remove(&id)?;
        self.size = self.size.saturating_sub(stream.memory() + PLACE);
        self.unasked -= usize::from(stream.request.fields.is_none());
        while self.order.front().is_some_and(|id| !self.open.contains_key(id)) {
            self.order.pop_front();
        }
        if self.open.is_empty() {
            self.open.shrink_to(IDLE_CAPACITY);
            self.order.shrink_to(IDLE_CAPACITY);
        }
        Some(stream)
    }

    /// The oldest give way.
    fn make_room(&mut self) {
        // A stream that lasts long keeps the ids of those that have ended since behind it.
        if self.order.len() > 2 * self.open.len() + ENDED_MAX {
            self.order.retain(|id| self.open.contains_key(id));
        }
        while self.open.len() >= WAITING_MAX || self.size > WAITING_BYTES_MAX {
            let Some(oldest) = self.order.front().copied() else { return };
            self.drop_stream(oldest);
            self.lost += 1;
        }
    }

    /// Answers that came first wait for their requests, which are recorded soon; those of before the newest one were missed.
    fn drop_unasked(&mut self) {
        // Mostly none: threads seldom overtake each other.
        if self.unasked == 0 {
            return;
        }
        let newest = self.newest;
        let is_missed = |(id, stream): &(&u32, &Stream)| **id < newest && stream.request.fields.is_none();
        let missed: Vec<u32> = self.open.iter().filter(is_missed).map(|(id, _)| *id).collect();
        for id in missed {
            self.drop_stream(id);
            self.lost += 1;
        }
    }

    fn give_up_doubtful(&mut self, now: u64) {
        if self.doubtful_until.is_none_or(|until| now < until) {
            return;
        }
        self.doubtful_until = None;
        let before = now.saturating_sub(UNANSWERED_MAX);
        let doubtful = self.open.iter().filter_map(|(id, stream)| Some((*id, stream.doubtful_since?)));
        let doubtful: Vec<(u32, u64)> = doubtful.collect();
        for (id, since) in doubtful {
            if since <= before {
                self.drop_stream(id);
                self.lost += 1;
            } else {
                let until = since.saturating_add(UNANSWERED_MAX);
                self.doubtful_until = Some(self.doubtful_until.map_or(until, |known| known.min(until)));
            }
        }
    }
}
