//! From the security layer to whoever reads events: the gRPC streams and the exporters. Each reader has a bounded queue of
//! what it wants; what does not fit is counted, and a number stands where events are missing. Nobody waits for a slow
//! reader, and without a reader there is no queue.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::event::SecurityEvent;
use crate::report::{Ledger, Place, gap::Gap};

/// How many events a reader can be behind. They take memory only while they wait.
const QUEUE: usize = 4096;

/// Takes events in, hands them to every reader that wants them.
#[derive(Clone)]
pub struct EventBus {
    readers: Arc<Mutex<Readers>>,
    ledger: Ledger,
}

/// One reader. Dropping it ends it.
pub struct Subscription {
    id: u64,
    queue: mpsc::Receiver<Next>,
    missing: Arc<AtomicU64>,
}

/// What a reader gets next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// An event.
    Event(Arc<SecurityEvent>),
    /// This many events are missing here; they stand in the ledger already.
    Lost(u64),
    /// Nobody watched for a time: what happened then is not known.
    Gap(Arc<Gap>),
    /// Nothing more will come.
    Closed,
}

#[derive(Default)]
struct Readers {
    last_id: u64,
    all: Vec<Reader>,
}

struct Reader {
    id: u64,
    place: Place,
    wanted: Box<dyn Fn(&SecurityEvent) -> bool + Send>,
    queue: mpsc::Sender<Next>,
    missing: Arc<AtomicU64>,
}

impl EventBus {
    /// A bus that enters what its readers lose in `ledger`.
    pub fn new(ledger: Ledger) -> Self {
        Self { readers: Arc::default(), ledger }
    }

    /// Whether anybody reads; where nobody does, an event need not be made.
    pub fn is_read(&self) -> bool {
        self.readers().all.iter().any(|reader| !reader.queue.is_closed())
    }

    /// Hands an event to every reader that wants it.
    pub fn publish(&self, event: Arc<SecurityEvent>) {
        self.readers().all.retain(|reader| reader.take(&event, &self.ledger));
    }

    /// Tells every reader that nobody watched for a time.
    pub fn tell_gap(&self, gap: Gap) {
        let gap = Arc::new(gap);
        for reader in &self.readers().all {
            if reader.queue.try_send(Next::Gap(gap.clone())).is_err() {
                reader.missing.fetch_add(1, Ordering::Relaxed);
                self.ledger.lost(reader.place, "", 1);
            }
        }
    }

    /// A reader of all events, from the next one on; what it loses is entered at `Place::StreamReader`.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(Place::StreamReader, |_| true)
    }

    /// A reader of the events that are `wanted`; only of those can it lose any, which are entered at `place`.
    pub fn subscribe_to(&self, place: Place, wanted: impl Fn(&SecurityEvent) -> bool + Send + 'static) -> Subscription {
        let mut readers = self.readers();
        readers.last_id += 1;
        let (id, missing) = (readers.last_id, Arc::<AtomicU64>::default());
        let (sender, queue) = mpsc::channel(QUEUE);
        readers.all.push(Reader { id, place, wanted: Box::new(wanted), queue: sender, missing: missing.clone() });
        Subscription { id, queue, missing }
    }

    /// Ends one reader, after what is queued for it.
    pub fn end(&self, id: u64) {
        self.readers().all.retain(|reader| reader.id != id);
    }

    /// Ends every reader, after what is queued.
    pub fn close(&self) {
        self.readers().all.clear();
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// False when the reader is gone.
    fn take(&self, event: &Arc<SecurityEvent>, ledger: &Ledger) -> bool {
        if !(self.wanted)(event) {
            return !self.queue.is_closed();
        }
        let missing = self.missing.swap(0, Ordering::Relaxed);
        let told = if missing > 0 { self.queue.try_send(Next::Lost(missing)) } else { Ok(()) };
        let lost_before = if told.is_err() { missing } else { 0 };
        match told.and_then(|()| self.queue.try_send(Next::Event(event.clone()))) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missing.fetch_add(lost_before + 1, Ordering::Relaxed);
                ledger.lost(self.place, "", 1);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

impl Subscription {
    /// What `EventBus::end` takes.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the next event. Safe to give up: nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Next {
        match self.try_next() {
            Some(next) => next,
            None => self.queue.recv().await.unwrap_or_else(|| self.end()),
        }
    }

    /// As `next`, for a thread outside the runtime.
    pub fn blocking_next(&mut self) -> Next {
        match self.try_next() {
            Some(next) => next,
            None => self.queue.blocking_recv().unwrap_or_else(|| self.end()),
        }
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<Next> {
        match self.queue.try_recv() {
            Ok(next) => Some(next),
            Err(_) => self.take_missing(),
        }
    }

    fn end(&self) -> Next {
        self.take_missing().unwrap_or(Next::Closed)
    }

    /// The number that nothing stood behind yet.
    fn take_missing(&self) -> Option<Next> {
        let missing = self.missing.swap(0, Ordering::Relaxed);
        (missing > 0).then_some(Next::Lost(missing))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        identity::{Located, Process},
        layers::security::event::SecurityEventKind,
    };

    fn event(pid: u32) -> Arc<SecurityEvent> {
        let process = Located { process: Arc::new(Process { tid: pid, ..Process::default() }), pod: None };
        Arc::new(SecurityEvent { time: Timestamp::UNIX_EPOCH, process, parent: None, kind: SecurityEventKind::Exec })
    }

    fn sent(bus: &EventBus, pids: std::ops::Range<u32>) {
        pids.for_each(|pid| bus.publish(event(pid)));
    }

    const FULL: u32 = QUEUE as u32;

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_lost_where_they_are_missing() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let mut slow = bus.subscribe();
        sent(&bus, 0..FULL + 3);
        for pid in 0..FULL {
            assert_eq!(slow.next().await, Next::Event(event(pid)));
        }
        assert_eq!(slow.next().await, Next::Lost(3));
        sent(&bus, 9..10);
        assert_eq!(slow.next().await, Next::Event(event(9)));
        assert_eq!(ledger.total(Place::StreamReader), 3);
    }

    #[test]
    fn the_number_stands_before_the_events_that_found_room_again() {
        let bus = EventBus::new(Ledger::default());
        let mut slow = bus.subscribe();
        sent(&bus, 0..FULL + 3);
        // Not awaited: a number that never comes is to fail, not to hang.
        slow.try_next();
        slow.try_next();
        sent(&bus, 7..8);
        for _ in 2..FULL {
            slow.try_next();
        }
        assert_eq!((slow.try_next(), slow.try_next()), (Some(Next::Lost(3)), Some(Next::Event(event(7)))));
    }

    #[tokio::test]
    async fn a_reader_loses_nothing_that_it_does_not_want_and_nothing_because_of_another() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let mut chooser = bus.subscribe_to(Place::StreamReader, |event| event.process.process.tid == 5);
        let _slow = bus.subscribe_to(Place::ExportQueue, |_| true);
        sent(&bus, 0..FULL + 1);
        assert_eq!(chooser.next().await, Next::Event(event(5)));
        assert_eq!((ledger.total(Place::StreamReader), ledger.total(Place::ExportQueue)), (0, 1));
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_forgotten() {
        let bus = EventBus::new(Ledger::default());
        drop(bus.subscribe());
        assert!(!bus.is_read());
        sent(&bus, 0..1);
        assert!(bus.readers().all.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_is_ended_still_gets_what_is_queued_and_what_it_lost() {
        let bus = EventBus::new(Ledger::default());
        let mut reader = bus.subscribe();
        sent(&bus, 0..FULL + 2);
        bus.end(reader.id());
        for pid in 0..FULL {
            assert_eq!(reader.next().await, Next::Event(event(pid)));
        }
        assert_eq!((reader.next().await, reader.next().await), (Next::Lost(2), Next::Closed));
    }
}
