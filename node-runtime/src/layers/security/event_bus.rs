//! From the security layer to the readers of events: gRPC streams and exporters. Each reader has a bounded queue of the events
//! that it selects. Events that do not fit are counted, and the reader gets the number where they are missing.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, sleep},
};

use trilobite_api::tetragon::EventType;

use super::{
    event::SecurityEvent,
    subscription::{QueueEntry, UnreportedLosses},
};
use crate::loss::{Ledger, LossPoint, gap::Gap};

pub use super::subscription::{StreamItem, Subscription};

/// Events that one reader's queue holds. They take memory only while they wait.
const QUEUE: usize = 4096;
/// How long a publisher of many events waits for readers.
const ROOM_TIMEOUT: Duration = Duration::from_millis(50);

/// Publishes events to every reader that selects them.
#[derive(Clone)]
pub struct EventBus {
    readers: Arc<Mutex<Readers>>,
    ledger: Ledger,
    /// Events that were delivered, whether there were readers or not, by the index of `EVENT_KINDS`.
    delivered: Arc<[AtomicU64; EVENT_KINDS.len()]>,
}

/// Types of events by Tetragon's names.
const EVENT_KINDS: [EventType; 4] =
    [EventType::ProcessExec, EventType::ProcessExit, EventType::ProcessKprobe, EventType::ProcessTracepoint];

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Readers {
    last_id: u64,
    all: Vec<Reader>,
}

impl Readers {
    /// The queue of some reader that still reads is more than half full.
    fn any_is_behind(&mut self) -> bool {
        let now = Instant::now();
        self.all.iter_mut().any(|reader| reader.is_behind(now))
    }
}

struct Reader {
    id: u64,
    /// Where the events that it loses are recorded.
    place: LossPoint,
    selects: Box<dyn Fn(&SecurityEvent) -> bool + Send>,
    wants_ancestors: bool,
    queue: mpsc::Sender<QueueEntry>,
    unreported: Arc<Mutex<UnreportedLosses>>,
    /// Entries that the reader has ever taken out of the queue.
    read: Arc<AtomicU64>,
    /// While the queue is more than half full: the last seen value of `read`, and when it last changed.
    progress: Option<(u64, Instant)>,
}

impl EventBus {
    /// Losses of readers are recorded in `ledger`.
    pub fn new(ledger: Ledger) -> Self {
        Self { readers: Arc::default(), ledger, delivered: Arc::default() }
    }

    /// Counts an event that was delivered.
    pub fn count(&self, kind: EventType) {
        if let Some(at) = EVENT_KINDS.iter().position(|one| *one == kind) {
            self.delivered[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Delivered events by their type.
    pub fn counts(&self) -> [(EventType, u64); EVENT_KINDS.len()] {
        std::array::from_fn(|at| (EVENT_KINDS[at], self.delivered[at].load(Ordering::Relaxed)))
    }

    /// Without readers, events need not be made. Forgets dropped readers.
    pub fn has_readers(&self) -> bool {
        let mut readers = self.readers();
        readers.all.retain(|reader| !reader.queue.is_closed());
        !readers.all.is_empty()
    }

    /// A reader selects or shows events by their ancestors, which are not looked up otherwise.
    pub fn wants_ancestors(&self) -> bool {
        self.readers().all.iter().any(|reader| reader.wants_ancestors)
    }

    pub fn publish(&self, event: Arc<SecurityEvent>) {
        self.readers().all.retain(|reader| {
            if (reader.selects)(&event) {
                reader.enqueue(Some(StreamItem::Event(event.clone())), &self.ledger)
            } else {
                !reader.queue.is_closed()
            }
        });
    }

    /// Publishes to every reader that no agent was running for a time.
    pub fn publish_gap(&self, gap: Gap) {
        let gap = Arc::new(gap);
        self.readers().all.retain(|reader| reader.enqueue(Some(StreamItem::Gap(gap.clone())), &self.ledger));
    }

    /// Publishes to every reader that `count` events were lost before they came here, which the ledger has already. Which reader
    /// would have selected them is unknown.
    pub fn publish_loss(&self, place: LossPoint, count: u64) {
        self.readers().all.retain(|reader| {
            *reader.unreported.lock().entry(place).or_default() += count;
            reader.enqueue(None, &self.ledger)
        });
    }

    /// Waits while the queue of a reader is more than half full, for `ROOM_TIMEOUT` at most. A reader that reads nothing for that
    /// long is not waited for until it reads again. Cancel safe.
    pub async fn wait_for_room(&self) {
        let end = Instant::now() + ROOM_TIMEOUT;
        // At least once, so that a reader on this thread can run.
        tokio::task::yield_now().await;
        while self.readers().any_is_behind() && Instant::now() < end {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// A reader of all events from now on; its losses are recorded at `LossPoint::StreamReader`.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(LossPoint::StreamReader, |_| true)
    }

    /// A reader of the events that `selects` accepts. It can lose only those, which are recorded at `place`.
    pub fn subscribe_to(
        &self,
        place: LossPoint,
        selects: impl Fn(&SecurityEvent) -> bool + Send + 'static,
    ) -> Subscription {
        self.subscribe_with(place, false, selects)
    }

    /// The same; the events have ancestors if `wants_ancestors`.
    pub fn subscribe_with(
        &self,
        place: LossPoint,
        wants_ancestors: bool,
        selects: impl Fn(&SecurityEvent) -> bool + Send + 'static,
    ) -> Subscription {
        let mut readers = self.readers();
        readers.last_id += 1;
        let id = readers.last_id;
        let (sender, queue) = mpsc::channel(QUEUE);
        let reader = Subscription::new(id, queue);
        readers.all.push(Reader {
            id,
            place,
            selects: Box::new(selects),
            wants_ancestors,
            queue: sender,
            unreported: reader.unreported.clone(),
            read: reader.read.clone(),
            progress: None,
        });
        reader
    }

    /// Whether a reader's further events have ancestors.
    pub fn set_wants_ancestors(&self, id: u64, wants_ancestors: bool) {
        let mut readers = self.readers();
        readers.all.iter_mut().filter(|reader| reader.id == id).for_each(|it| it.wants_ancestors = wants_ancestors);
    }

    /// Closes one reader's stream after the items that are queued for it.
    pub fn unsubscribe(&self, id: u64) {
        self.readers().all.retain(|reader| reader.id != id);
    }

    /// Closes every stream after the items that are queued for it.
    pub fn close(&self) {
        self.readers().all.clear();
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock()
    }
}

impl Reader {
    fn is_behind(&mut self, now: Instant) -> bool {
        if self.queue.is_closed() || self.queue.capacity() >= QUEUE / 2 {
            self.progress = None;
            return false;
        }
        let read = self.read.load(Ordering::Relaxed);
        let (seen, since) = *self.progress.get_or_insert((read, now));
        if seen != read {
            self.progress = Some((read, now));
            return true;
        }
        now - since < ROOM_TIMEOUT
    }

    /// Queues an item together with the losses before it. False when the reader was dropped.
    fn enqueue(&self, item: Option<StreamItem>, ledger: &Ledger) -> bool {
        let mut unreported = self.unreported.lock();
        match self.queue.try_send(QueueEntry { losses: std::mem::take(&mut *unreported), item }) {
            Ok(()) => true,
            Err(TrySendError::Full(entry)) => {
                *unreported = entry.losses;
                if entry.item.is_some() {
                    *unreported.entry(self.place).or_default() += 1;
                    ledger.record_loss(self.place, "", 1);
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
        let (time, kind) = (Timestamp::UNIX_EPOCH, SecurityEventKind::Exec);
        Arc::new(SecurityEvent { time, process, parent: None, ancestors: Vec::new(), kind })
    }

    fn publish(bus: &EventBus, pids: std::ops::Range<u32>) {
        pids.for_each(|pid| bus.publish(event(pid)));
    }

    const FULL: u32 = QUEUE as u32;

    #[tokio::test]
    async fn slow_reader_gets_the_number_of_lost_events_in_place() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let mut slow = bus.subscribe();
        publish(&bus, 0..FULL + 3);
        for pid in 0..FULL {
            assert_eq!(slow.next().await, StreamItem::Event(event(pid)));
        }
        assert_eq!(slow.next().await, StreamItem::Lost(LossPoint::StreamReader, 3));
        publish(&bus, 9..10);
        assert_eq!(slow.next().await, StreamItem::Event(event(9)));
        assert_eq!(ledger.total_at(LossPoint::StreamReader), 3);
    }

    #[test]
    fn number_of_lost_events_comes_before_the_next_event() {
        let bus = EventBus::new(Ledger::default());
        let mut slow = bus.subscribe();
        publish(&bus, 0..FULL + 3);
        // Not awaited, so that a missing number fails the test at once.
        slow.try_next();
        slow.try_next();
        publish(&bus, 7..8);
        for _ in 2..FULL {
            slow.try_next();
        }
        assert_eq!(
            (slow.try_next(), slow.try_next()),
            (Some(StreamItem::Lost(LossPoint::StreamReader, 3)), Some(StreamItem::Event(event(7))))
        );
    }

    #[tokio::test]
    async fn reader_loses_only_selected_events_and_none_by_other_readers() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let mut selective = bus.subscribe_to(LossPoint::StreamReader, |event| event.process.process.tid == 5);
        let _slow = bus.subscribe_to(LossPoint::ExportQueue, |_| true);
        publish(&bus, 0..FULL + 1);
        assert_eq!(selective.next().await, StreamItem::Event(event(5)));
        assert_eq!((ledger.total_at(LossPoint::StreamReader), ledger.total_at(LossPoint::ExportQueue)), (0, 1));
    }

    #[tokio::test]
    async fn dropped_reader_is_removed() {
        let bus = EventBus::new(Ledger::default());
        drop(bus.subscribe());
        assert!(!bus.has_readers());
        publish(&bus, 0..1);
        assert!(bus.readers().all.is_empty());
    }

    #[tokio::test]
    async fn unsubscribed_reader_still_gets_its_queue_and_losses() {
        let bus = EventBus::new(Ledger::default());
        let mut reader = bus.subscribe();
        publish(&bus, 0..FULL + 2);
        bus.unsubscribe(reader.id());
        for pid in 0..FULL {
            assert_eq!(reader.next().await, StreamItem::Event(event(pid)));
        }
        assert_eq!(
            (reader.next().await, reader.next().await),
            (StreamItem::Lost(LossPoint::StreamReader, 2), StreamItem::Closed)
        );
    }

    #[test]
    fn reader_of_half_the_speed_still_gets_events() {
        let bus = EventBus::new(Ledger::default());
        let mut slow = bus.subscribe();
        publish(&bus, 0..FULL);
        let read: Vec<Option<StreamItem>> = (0..8192)
            .map(|_| {
                let next = slow.try_next();
                publish(&bus, 0..2);
                next
            })
            .collect();
        let events = read[4096..].iter().filter(|next| matches!(next, Some(StreamItem::Event(_)))).count();
        assert!(events >= 2000, "{events} events among the last 4096");
    }

    #[tokio::test]
    async fn losses_of_the_kernel_reach_every_reader_and_count_once() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let (mut waits, mut behind) = (bus.subscribe_to(LossPoint::StreamReader, |_| false), bus.subscribe());
        let waiting = tokio::spawn(async move { waits.next().await });
        tokio::task::yield_now().await;
        publish(&bus, 0..1);
        bus.publish_loss(LossPoint::PolicyRing, 7);
        assert_eq!(waiting.await.unwrap(), StreamItem::Lost(LossPoint::PolicyRing, 7));
        assert_eq!(behind.next().await, StreamItem::Event(event(0)));
        assert_eq!(behind.next().await, StreamItem::Lost(LossPoint::PolicyRing, 7));
        assert_eq!(ledger.losses(), []);
    }

    #[test]
    fn losses_of_the_kernel_reach_a_reader_with_a_full_queue() {
        let bus = EventBus::new(Ledger::default());
        let mut slow = bus.subscribe();
        publish(&bus, 0..FULL + 1);
        bus.publish_loss(LossPoint::IdentityRing, 5);
        (0..FULL).for_each(|_| drop(slow.try_next()));
        let items = [slow.try_next(), slow.try_next(), slow.try_next()];
        assert_eq!(
            items,
            [
                Some(StreamItem::Lost(LossPoint::IdentityRing, 5)),
                Some(StreamItem::Lost(LossPoint::StreamReader, 1)),
                None
            ]
        );
    }

    #[tokio::test]
    async fn stopped_reader_is_waited_for_once_and_a_slow_one_until_room() {
        let bus = EventBus::new(Ledger::default());
        let stopped = bus.subscribe();
        publish(&bus, 0..FULL);
        let start = Instant::now();
        bus.wait_for_room().await;
        assert!(start.elapsed() >= ROOM_TIMEOUT);
        assert!(!bus.readers().any_is_behind());
        drop(stopped);
        let mut reads = bus.subscribe();
        publish(&bus, 0..FULL);
        let reading = tokio::spawn(async move {
            loop {
                (0..500).for_each(|_| drop(reads.try_next()));
                sleep(Duration::from_millis(1)).await;
            }
        });
        bus.wait_for_room().await;
        assert!(bus.readers().all[0].queue.capacity() >= QUEUE / 2);
        reading.abort();
    }
}
