//! One reader's end of the bus: a bounded queue, and the numbers of what found no room in it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use super::event::SecurityEvent;
use crate::report::{Place, gap::Gap};

/// One reader. Dropping it ends it.
pub struct Subscription {
    pub(super) id: u64,
    queue: mpsc::Receiver<Slot>,
    /// What a slot that was taken holds besides what was given of it.
    taken: VecDeque<Next>,
    pub(super) missing: Arc<Mutex<Missing>>,
    pub(super) opened: Arc<AtomicU64>,
}

/// What a reader gets next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// An event.
    Event(Arc<SecurityEvent>),
    /// This many events are missing about here, and where they were lost; they stand in the ledger already.
    Lost(Place, u64),
    /// Nobody watched for a time: what happened then is not known.
    Gap(Arc<Gap>),
    /// Nothing more will come.
    Closed,
}

/// Events that a reader has not been told of yet, by where they were lost.
pub(super) type Missing = BTreeMap<Place, u64>;

/// A place in a queue. The numbers stand in the slot of what comes after them: in slots of their own they would take the
/// room of the events that they tell of.
pub(super) struct Slot {
    pub(super) missing: Missing,
    pub(super) next: Option<Next>,
}

impl Subscription {
    pub(super) fn new(id: u64, queue: mpsc::Receiver<Slot>) -> Self {
        Self { id, queue, taken: VecDeque::new(), missing: Arc::default(), opened: Arc::default() }
    }

    /// What `EventBus::end` takes.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the next event. Safe to give up: nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            match self.queue.recv().await {
                Some(slot) => self.open(slot),
                None => return self.try_next().unwrap_or(Next::Closed),
            }
        }
    }

    /// As `next`, for a thread outside the runtime.
    pub fn blocking_next(&mut self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            match self.queue.blocking_recv() {
                Some(slot) => self.open(slot),
                None => return self.try_next().unwrap_or(Next::Closed),
            }
        }
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<Next> {
        if self.taken.is_empty() {
            // Numbers that nothing stood behind yet come after all that is queued.
            let last = || Slot { missing: std::mem::take(&mut *lock(&self.missing)), next: None };
            let slot = self.queue.try_recv().unwrap_or_else(|_| last());
            self.open(slot);
        }
        self.taken.pop_front()
    }

    fn open(&mut self, slot: Slot) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.taken.extend(slot.missing.into_iter().map(|(place, count)| Next::Lost(place, count)));
        self.taken.extend(slot.next);
    }
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
