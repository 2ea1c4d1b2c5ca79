//! The reader's end of the event bus: a bounded queue, and the numbers of events that had no room in it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::event::SecurityEvent;
use crate::loss::{LossPoint, gap::Gap};

/// A stream of events. Dropping it unsubscribes.
pub struct Subscription {
    pub(super) id: u64,
    queue: mpsc::Receiver<QueueEntry>,
    /// The items of an entry that was read, which are still to be returned.
    items: VecDeque<StreamItem>,
    pub(super) unreported: Arc<Mutex<UnreportedLosses>>,
    pub(super) read: Arc<AtomicU64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    Event(Arc<SecurityEvent>),
    /// This many events are missing about here, and where they were lost; the ledger has them already.
    Lost(LossPoint, u64),
    /// No agent was running for a time.
    Gap(Arc<Gap>),
    /// The end of the stream.
    Closed,
}

/// Lost events that the reader has not seen yet, by where they were lost.
pub(super) type UnreportedLosses = BTreeMap<LossPoint, u64>;

/// An entry of the queue. Losses are part of the entry that follows them: with entries of their own they would take the room
/// of more events.
pub(super) struct QueueEntry {
    pub(super) losses: UnreportedLosses,
    pub(super) item: Option<StreamItem>,
}

impl Subscription {
    pub(super) fn new(id: u64, queue: mpsc::Receiver<QueueEntry>) -> Self {
        Self { id, queue, items: VecDeque::new(), unreported: Arc::default(), read: Arc::default() }
    }

    /// The argument of `EventBus::unsubscribe`.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the next item. Cancel safe.
    pub async fn next(&mut self) -> StreamItem {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            match self.queue.recv().await {
                Some(entry) => self.unpack(entry),
                None => return self.try_next().unwrap_or(StreamItem::Closed),
            }
        }
    }

    /// Like `next`, for a thread outside of the runtime.
    pub fn blocking_next(&mut self) -> StreamItem {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            match self.queue.blocking_recv() {
                Some(entry) => self.unpack(entry),
                None => return self.try_next().unwrap_or(StreamItem::Closed),
            }
        }
    }

    /// The next item, if there is one already.
    pub fn try_next(&mut self) -> Option<StreamItem> {
        if self.items.is_empty() {
            // Losses that no entry has followed yet come after the whole queue.
            let last = || QueueEntry { losses: std::mem::take(&mut *self.unreported.lock()), item: None };
            let entry = self.queue.try_recv().unwrap_or_else(|_| last());
            self.unpack(entry);
        }
        self.items.pop_front()
    }

    fn unpack(&mut self, entry: QueueEntry) {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.items.extend(entry.losses.into_iter().map(|(place, count)| StreamItem::Lost(place, count)));
        self.items.extend(entry.item);
    }
}
