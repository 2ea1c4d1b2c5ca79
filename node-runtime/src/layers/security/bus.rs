//! From the security layer to whoever reads events: the gRPC streams and the exporters. A reader that is too slow loses the
//! oldest events and is told how many; nobody else waits for it. Without a reader there is no queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use super::event::SecurityEvent;
use crate::report::{Ledger, Place};

/// How many events a reader can be behind.
const QUEUE: usize = 4096;

/// Takes events in, hands them to every reader.
#[derive(Clone)]
pub struct EventBus {
    sender: Arc<Mutex<Option<broadcast::Sender<Arc<SecurityEvent>>>>>,
    ledger: Ledger,
}

/// One reader. Dropping it ends it.
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<SecurityEvent>>,
    ledger: Ledger,
    place: Place,
}

/// What a reader gets next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// An event.
    Event(Arc<SecurityEvent>),
    /// This many events are missing here; they stand in the ledger already.
    Lost(u64),
    /// The agent is ending.
    Closed,
}

impl EventBus {
    /// A bus that enters what its readers lose in `ledger`.
    pub fn new(ledger: Ledger) -> Self {
        Self { sender: Arc::default(), ledger }
    }

    /// Whether anybody reads; where nobody does, an event need not be made.
    pub fn is_read(&self) -> bool {
        self.sender().as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Hands an event to every reader. The queue goes with the last of them.
    pub fn publish(&self, event: Arc<SecurityEvent>) {
        let mut sender = self.sender();
        if sender.as_ref().is_some_and(|sender| sender.send(event).is_err()) {
            *sender = None;
        }
    }

    /// A reader of a stream, from the next event on.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_at(Place::StreamReader)
    }

    /// As `subscribe`; what is lost is entered at `place`.
    pub fn subscribe_at(&self, place: Place) -> Subscription {
        let mut sender = self.sender();
        let receiver = sender.get_or_insert_with(|| broadcast::Sender::new(QUEUE)).subscribe();
        Subscription { receiver, ledger: self.ledger.clone(), place }
    }

    /// Ends every reader, after what is queued.
    pub fn close(&self) {
        *self.sender() = None;
    }

    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<SecurityEvent>>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits for the next event. Safe to give up: nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Next {
        match self.receiver.recv().await {
            Ok(event) => Next::Event(event),
            Err(RecvError::Lagged(count)) => {
                self.ledger.lost(self.place, "", count);
                Next::Lost(count)
            }
            Err(RecvError::Closed) => Next::Closed,
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

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_lost_and_another_loses_nothing() {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let (mut slow, mut quick) = (bus.subscribe(), bus.subscribe());
        for pid in 0..QUEUE + 3 {
            let sent = event(u32::try_from(pid).unwrap());
            bus.publish(sent.clone());
            assert_eq!(quick.next().await, Next::Event(sent));
        }
        assert_eq!(slow.next().await, Next::Lost(3));
        assert_eq!(slow.next().await, Next::Event(event(3)));
        assert_eq!(ledger.total(Place::StreamReader), 3);
    }

    #[tokio::test]
    async fn the_queue_goes_with_the_last_reader() {
        let bus = EventBus::new(Ledger::default());
        drop(bus.subscribe());
        bus.publish(event(1));
        assert!(!bus.is_read());
        assert!(bus.sender().is_none());
    }

    #[tokio::test]
    async fn a_closed_bus_ends_its_readers_after_what_is_queued() {
        let bus = EventBus::new(Ledger::default());
        let mut reader = bus.subscribe();
        bus.publish(event(1));
        bus.close();
        assert_eq!(reader.next().await, Next::Event(event(1)));
        assert_eq!(reader.next().await, Next::Closed);
    }
}
