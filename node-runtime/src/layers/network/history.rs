//! The flows of the last while, for whoever asks later, and for those who follow. Bounded by number and by bytes; a reader
//! that falls behind is told how many it lost.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::flow::Flow;

/// Flows that are kept, as Hubble's default.
pub const CAPACITY: usize = 4095;
/// Bytes that they may hold together, what they share not counted.
pub const BYTES: usize = 4 << 20;

/// How long a namespace is remembered after its last flow.
const NAMESPACE_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Readers have so long for the last flows before they are forgotten.
const FAREWELL: Duration = Duration::from_secs(1);

/// The flows of the last while. A handle: clones are the same history.
#[derive(Clone)]
pub struct History {
    kept: Arc<Mutex<Kept>>,
    head: watch::Sender<u64>,
    capacity: usize,
    bytes: usize,
}

#[derive(Default)]
struct Kept {
    flows: VecDeque<Arc<Flow>>,
    /// Number of the first that is kept.
    oldest: u64,
    /// When each namespace was last seen.
    namespaces: BTreeMap<String, Timestamp>,
    closed: bool,
    /// Lost in the kernel since the start.
    lost: u64,
    /// Nothing is watched any more; goes up with each end and each new beginning, so that a farewell knows its own.
    season: u64,
}

/// What a reader gets from where it stands.
#[derive(Debug)]
pub struct Read {
    /// The flows, oldest first.
    pub flows: Vec<Arc<Flow>>,
    /// Gone before this reader came to them.
    pub lost: u64,
    /// Where it stands now.
    pub next: u64,
}

impl Default for History {
    fn default() -> Self {
        Self::new(CAPACITY, BYTES)
    }
}

impl History {
    /// An empty history.
    pub fn new(capacity: usize, bytes: usize) -> Self {
        Self { kept: Arc::default(), head: watch::Sender::new(0), capacity, bytes }
    }

    /// Adds a flow, and drops the oldest beyond the bounds.
    pub fn push(&self, flow: Arc<Flow>) {
        let mut kept = self.kept();
        kept.see(&flow.source_end.namespace, flow.time);
        kept.see(&flow.destination_end.namespace, flow.time);
        kept.flows.push_back(flow);
        while kept.flows.len() > self.capacity || kept.flows.len() * size_of::<Flow>() > self.bytes {
            kept.flows.pop_front();
            kept.oldest += 1;
        }
        let head = kept.head();
        drop(kept);
        self.head.send_replace(head);
    }

    /// Flows and packets that the kernel had no room for, since the start. Those who follow are woken to tell of them.
    pub fn lost_so_far(&self, total: u64) {
        let mut kept = self.kept();
        let is_more = total > kept.lost;
        kept.lost = kept.lost.max(total);
        drop(kept);
        if is_more {
            self.head.send_modify(|_| {});
        }
    }

    /// See `lost_so_far`.
    pub fn lost(&self) -> u64 {
        self.kept().lost
    }

    /// Nothing is watched any more: forgets all flows, at once where nobody reads, else when those who follow have had a
    /// second for the last ones.
    pub fn retire(&self) {
        let season = self.next_season();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.head.receiver_count() > 0 && !self.is_empty() => {
                let history = self.clone();
                drop(runtime.spawn(async move {
                    tokio::time::sleep(FAREWELL).await;
                    if history.kept().season == season {
                        history.clear();
                    }
                }));
            }
            _ => self.clear(),
        }
    }

    /// Flows are wanted, again perhaps: what is kept stays.
    pub fn revive(&self) {
        self.next_season();
    }

    fn next_season(&self) -> u64 {
        let mut kept = self.kept();
        kept.season += 1;
        kept.season
    }

    /// Forgets all flows and gives their memory back.
    pub fn clear(&self) {
        let mut kept = self.kept();
        kept.oldest = kept.head();
        kept.flows = VecDeque::new();
        kept.namespaces.clear();
    }

    /// No more will come: those who follow end.
    pub fn close(&self) {
        self.kept().closed = true;
        self.head.send_modify(|_| {});
    }

    /// No more will come.
    pub fn is_closed(&self) -> bool {
        self.kept().closed
    }

    /// Waits for `close`.
    pub async fn closed(&self) {
        let mut changed = self.changed();
        while !self.is_closed() && changed.changed().await.is_ok() {}
    }

    /// Namespaces that had a flow in the last hour.
    pub fn namespaces(&self, now: Timestamp) -> Vec<String> {
        let mut kept = self.kept();
        kept.namespaces.retain(|_, seen| now.duration_since(*seen) <= NAMESPACE_FOR);
        kept.namespaces.keys().cloned().collect()
    }

    /// At most `most` flows from number `from` on.
    pub fn read(&self, from: u64, most: usize) -> Read {
        let kept = self.kept();
        let start = from.max(kept.oldest);
        let skip = usize::try_from(start - kept.oldest).unwrap_or(usize::MAX);
        let flows: Vec<_> = kept.flows.iter().skip(skip).take(most).cloned().collect();
        Read { lost: start - from, next: start.min(kept.head()) + flows.len() as u64, flows }
    }

    /// Number of the first flow that is kept, and of the next that will come.
    pub fn range(&self) -> (u64, u64) {
        let kept = self.kept();
        (kept.oldest, kept.head())
    }

    /// Flows that are kept.
    pub fn len(&self) -> usize {
        self.kept().flows.len()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most that can be kept.
    pub fn capacity(&self) -> usize {
        self.capacity.min(self.bytes / size_of::<Flow>())
    }

    /// Flows since the start.
    pub fn seen(&self) -> u64 {
        self.range().1
    }

    /// Changes when a flow is added.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn see(&mut self, namespace: &str, time: Timestamp) {
        match self.namespaces.get_mut(namespace) {
            Some(seen) => *seen = time,
            None if namespace.is_empty() => {}
            None => drop(self.namespaces.insert(namespace.to_owned(), time)),
        }
    }

    fn head(&self) -> u64 {
        self.oldest + self.flows.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::tests::syn;

    fn filled(capacity: usize, with: u32) -> History {
        let history = History::new(capacity, BYTES);
        for number in 0..with {
            let mut flow = syn();
            flow.interface = Arc::new(super::super::flow::Interface { index: number, ..Default::default() });
            history.push(Arc::new(flow));
        }
        history
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_how_many_it_lost() {
        let history = filled(4, 10);
        let read = history.read(2, 100);
        assert_eq!((read.lost, read.next), (4, 10));
        assert_eq!(read.flows.iter().map(|flow| flow.interface.index).collect::<Vec<_>>(), [6, 7, 8, 9]);
    }

    #[test]
    fn a_reader_at_the_end_gets_nothing_and_stays() {
        let history = filled(4, 3);
        let read = history.read(3, 100);
        assert_eq!((read.flows.len(), read.lost, read.next), (0, 0, 3));
    }

    #[test]
    fn bytes_bound_it_as_well() {
        let history = History::new(CAPACITY, 10 * size_of::<Flow>());
        for _ in 0..50 {
            history.push(Arc::new(syn()));
        }
        assert_eq!((history.len(), history.capacity(), history.seen()), (10, 10, 50));
    }

    #[test]
    fn a_namespace_is_forgotten_an_hour_after_its_last_flow() {
        let history = filled(4, 1);
        let time = syn().time;
        assert_eq!(history.namespaces(time), ["shop", "store"]);
        let later = time.checked_add(NAMESPACE_FOR + SignedDuration::from_secs(1)).unwrap();
        assert!(history.namespaces(later).is_empty());
    }

    #[tokio::test]
    async fn one_who_follows_has_a_second_for_the_last_flows() {
        let history = filled(4, 3);
        let reader = history.changed();
        history.retire();
        assert_eq!(history.read(0, 10).flows.len(), 3);
        tokio::time::sleep(FAREWELL + Duration::from_millis(300)).await;
        assert!(history.is_empty());
        drop(reader);
        history.push(Arc::new(syn()));
        history.retire();
        assert!(history.is_empty(), "nobody reads");
    }

    #[tokio::test]
    async fn flows_that_are_wanted_again_within_the_second_are_kept() {
        let history = filled(4, 3);
        let _reader = history.changed();
        history.retire();
        history.revive();
        tokio::time::sleep(FAREWELL + Duration::from_millis(300)).await;
        assert_eq!(history.len(), 3);
    }

    #[test]
    fn numbers_go_on_after_it_was_cleared() {
        let history = filled(4, 3);
        history.clear();
        assert_eq!(history.range(), (3, 3));
        assert_eq!(history.read(0, 10).lost, 3);
        history.push(Arc::new(syn()));
        assert_eq!(history.read(3, 10).flows.len(), 1);
    }
}
