//! From the security layer to whoever reads events: the gRPC streams and the exporters. Each reader has a bounded queue of
//! what it wants; what does not fit is counted, and a number stands where events are missing. Nobody waits for a slow
//! reader, and without a reader there is no queue.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, sleep},
};

use super::{
    event::SecurityEvent,
    subscription::{Missing, Slot, lock},
};
use crate::report::{Ledger, Place, gap::Gap};

pub use super::subscription::{Next, Subscription};

/// How many events a reader can be behind. They take memory only while they wait.
const QUEUE: usize = 4096;
/// Whoever tells much at once waits for readers so long at most.
const MOMENT: Duration = Duration::from_millis(50);

/// Takes events in, hands them to every reader that wants them.
#[derive(Clone)]
pub struct EventBus {
    readers: Arc<Mutex<Readers>>,
    ledger: Ledger,
}

#[derive(Default)]
struct Readers {
    last_id: u64,
    all: Vec<Reader>,
}

impl Readers {
    /// Some reader is more than half full, and takes what it gets.
    fn any_is_behind(&mut self) -> bool {
        let now = Instant::now();
        self.all.iter_mut().any(|reader| reader.is_behind(now))
    }
}

struct Reader {
    id: u64,
    place: Place,
    wanted: Box<dyn Fn(&SecurityEvent) -> bool + Send>,
    queue: mpsc::Sender<Slot>,
    missing: Arc<Mutex<Missing>>,
    /// Slots that were ever taken out of the queue.
    opened: Arc<AtomicU64>,
    /// While it is more than half full: how many those were, and since when they are so many.
    seen: Option<(u64, Instant)>,
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
        self.readers().all.retain(|reader| {
            if (reader.wanted)(&event) {
                reader.take(Some(Next::Event(event.clone())), &self.ledger)
            } else {
                !reader.queue.is_closed()
            }
        });
    }

    /// Tells every reader that nobody watched for a time.
    pub fn tell_gap(&self, gap: Gap) {
        let gap = Arc::new(gap);
        self.readers().all.retain(|reader| reader.take(Some(Next::Gap(gap.clone())), &self.ledger));
    }

    /// Tells every reader that `count` events were lost before they came here, which the ledger knows. Whether it had
    /// wanted them nobody can say.
    pub fn tell_lost(&self, place: Place, count: u64) {
        self.readers().all.retain(|reader| {
            *lock(&reader.missing).entry(place).or_default() += count;
            reader.take(None, &self.ledger)
        });
    }

    /// Waits a moment at most, while a reader is more than half full and takes what it gets. One that takes nothing for
    /// that long is slow, and nobody waits for it until it takes something again. Safe to give up.
    pub async fn make_room(&self) {
        let end = Instant::now() + MOMENT;
        // At least once: a reader on this thread has not had its turn yet.
        tokio::task::yield_now().await;
        while self.readers().any_is_behind() && Instant::now() < end {
            sleep(Duration::from_millis(1)).await;
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
        let id = readers.last_id;
        let (sender, queue) = mpsc::channel(QUEUE);
        let reader = Subscription::new(id, queue);
        readers.all.push(Reader {
            id,
            place,
            wanted: Box::new(wanted),
            queue: sender,
            missing: reader.missing.clone(),
            opened: reader.opened.clone(),
            seen: None,
        });
        reader
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
        lock(&self.readers)
    }
}

impl Reader {
    fn is_behind(&mut self, now: Instant) -> bool {
        if self.queue.is_closed() || self.queue.capacity() >= QUEUE / 2 {
            self.seen = None;
            return false;
        }
        let opened = self.opened.load(Ordering::Relaxed);
        let (seen, since) = *self.seen.get_or_insert((opened, now));
        if seen != opened {
            self.seen = Some((opened, now));
            return true;
        }
        now - since < MOMENT
    }

    /// Queues what comes next behind the numbers of what is missing before it. False when the reader is gone.
    fn take(&self, next: Option<Next>, ledger: &Ledger) -> bool {
        let mut missing = lock(&self.missing);
        match self.queue.try_send(Slot { missing: std::mem::take(&mut *missing), next }) {
            Ok(()) => true,
            Err(TrySendError::Full(slot)) => {
                *missing = slot.missing;
                if slot.next.is_some() {
                    *missing.entry(self.place).or_default() += 1;
                    ledger.lost(self.place, "", 1);
                }
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
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
        assert_eq!(slow.next().await, Next::Lost(Place::StreamReader, 3));
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
        assert_eq!(
            (slow.try_next(), slow.try_next()),
            (Some(Next::Lost(Place::StreamReader, 3)), Some(Next::Event(event(7))))
        );
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
        assert_eq!((reader.next().await, reader.next().await), (Next::Lost(Place::StreamReader, 2), Next::Closed));
    }

    #[test]
    fn a_reader_that_is_half_as_fast_as_the_events_goes_on_getting_events() {
        let bus = EventBus::new(Ledger::default());
        let mut slow = bus.subscribe();
        sent(&bus, 0..FULL);
        let read: Vec<Option<Next>> = (0..8192)
            .map(|_| {
                let next = slow.try_next();
                sent(&bus, 0..2);
                next
            })
            .collect();
        let events = read[4096..].iter().filter(|next| matches!(next, Some(Next::Event(_)))).count();
        assert!(events >= 2000, "{events} events among the last 4096");
    }

    #[tokio::test]
    async fn what_the_kernel_lost_is_told_to_every_reader_and_entered_by_nobody_again() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let (mut waits, mut behind) = (bus.subscribe_to(Place::StreamReader, |_| false), bus.subscribe());
        let waiting = tokio::spawn(async move { waits.next().await });
        tokio::task::yield_now().await;
        sent(&bus, 0..1);
        bus.tell_lost(Place::PolicyRing, 7);
        assert_eq!(waiting.await.unwrap(), Next::Lost(Place::PolicyRing, 7));
        assert_eq!(behind.next().await, Next::Event(event(0)));
        assert_eq!(behind.next().await, Next::Lost(Place::PolicyRing, 7));
        assert_eq!(ledger.losses(), []);
    }

    #[test]
    fn what_the_kernel_lost_is_told_to_a_reader_whose_queue_was_full_then() {
        let bus = EventBus::new(Ledger::default());
        let mut slow = bus.subscribe();
        sent(&bus, 0..FULL + 1);
        bus.tell_lost(Place::IdentityRing, 5);
        (0..FULL).for_each(|_| drop(slow.try_next()));
        let told = [slow.try_next(), slow.try_next(), slow.try_next()];
        assert_eq!(told, [Some(Next::Lost(Place::IdentityRing, 5)), Some(Next::Lost(Place::StreamReader, 1)), None]);
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_waited_for_once_and_one_that_reads_until_it_has_room() {
        let bus = EventBus::new(Ledger::default());
        let stopped = bus.subscribe();
        sent(&bus, 0..FULL);
        let start = Instant::now();
        bus.make_room().await;
        assert!(start.elapsed() >= MOMENT);
        assert!(!bus.readers().any_is_behind());
        drop(stopped);
        let mut reads = bus.subscribe();
        sent(&bus, 0..FULL);
        let reading = tokio::spawn(async move {
            loop {
                (0..500).for_each(|_| drop(reads.try_next()));
                sleep(Duration::from_millis(1)).await;
            }
        });
        bus.make_room().await;
        assert!(bus.readers().all[0].queue.capacity() >= QUEUE / 2);
        reading.abort();
    }
}
