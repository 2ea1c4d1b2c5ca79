//! The most recent flows, for later requests and for readers that follow. Bounded by number, by bytes, and by time once no flow
//! is recorded any more; a reader that falls behind learns how many it missed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::flow::Flow;

/// Flows that are kept; Hubble's default.
pub const CAPACITY: usize = 4095;
/// Bytes that they may hold together, without what they share.
pub const BYTES: usize = 4 << 20;

/// How long a namespace is listed after its last flow.
const NAMESPACE_TTL: SignedDuration = SignedDuration::from_hours(1);

/// How long flows are kept after the last subscriber is gone, e.g. to be read when a FlowCapture has ended.
const RETENTION: Duration = Duration::from_secs(600);

/// The most recent flows. Clones are handles to the same buffer.
#[derive(Clone)]
pub struct FlowBuffer {
    inner: Arc<Mutex<Inner>>,
    head: watch::Sender<u64>,
    capacity: usize,
    bytes: usize,
    retention: Duration,
}

#[derive(Default)]
struct Inner {
    flows: VecDeque<Arc<Flow>>,
    /// Of all `flows`, without what they share.
    bytes: usize,
    /// Number of the first flow in `flows`.
    oldest: u64,
    /// When each namespace was last seen.
    namespaces: BTreeMap<String, Timestamp>,
    closed: bool,
    /// Lost in the kernel since the start.
    lost: u64,
    /// Lost on the way from the decoder of requests since the start.
    lost_in_queue: u64,
    /// Incremented whenever flows become wanted or unwanted, so that a pending clear knows whether it is outdated.
    epoch: u64,
    /// While flows are wanted: since when every flow is in `flows`.
    complete_since: Option<Timestamp>,
}

/// Flows from a reader's position on.
#[derive(Debug)]
pub struct FlowBatch {
    /// Oldest first.
    pub flows: Vec<Arc<Flow>>,
    /// Dropped before this reader came to them.
    pub lost: u64,
    /// The reader's next position.
    pub next: u64,
}

impl Default for FlowBuffer {
    fn default() -> Self {
        Self::new(CAPACITY, BYTES)
    }
}

impl FlowBuffer {
    pub fn new(capacity: usize, bytes: usize) -> Self {
        Self { inner: Arc::default(), head: watch::Sender::new(0), capacity, bytes, retention: RETENTION }
    }

    pub fn push(&self, flow: Arc<Flow>) {
        self.extend([flow]);
    }

    /// Adds flows, drops the oldest beyond the bounds, and wakes the readers once.
    pub fn extend(&self, flows: impl IntoIterator<Item = Arc<Flow>>) {
        let mut inner = self.inner.lock();
        let before = inner.head();
        for flow in flows {
            inner.see_namespace(&flow.source_endpoint.namespace, flow.time);
            inner.see_namespace(&flow.destination_endpoint.namespace, flow.time);
            inner.bytes += flow.bytes();
            inner.flows.push_back(flow);
            while inner.flows.len() > self.capacity || inner.bytes > self.bytes {
                let Some(dropped) = inner.flows.pop_front() else { break };
                inner.bytes -= dropped.bytes();
                inner.oldest += 1;
                let oldest = inner.flows.front().map(|flow| flow.time);
                inner.complete_since = inner.complete_since.max(oldest);
            }
        }
        let head = inner.head();
        drop(inner);
        if head != before {
            self.head.send_replace(head);
        }
    }

    /// Sets the number of flows and packets that the kernel had no room for since the start, and wakes followers if it grew.
    pub fn set_lost(&self, total: u64) {
        let mut inner = self.inner.lock();
        let is_more = total > inner.lost;
        inner.lost = inner.lost.max(total);
        drop(inner);
        if is_more {
            self.head.send_modify(|_| {});
        }
    }

    /// See `set_lost`.
    pub fn lost(&self) -> u64 {
        self.inner.lock().lost
    }

    /// Adds events that were lost on the way from the decoder of requests, and wakes followers.
    pub fn add_lost_in_queue(&self, count: u64) {
        self.inner.lock().lost_in_queue += count;
        self.head.send_modify(|_| {});
    }

    /// See `add_lost_in_queue`.
    pub fn lost_in_queue(&self) -> u64 {
        self.inner.lock().lost_in_queue
    }

    /// Since when every flow is in the buffer; none while flows are not wanted.
    pub fn complete_since(&self) -> Option<Timestamp> {
        self.inner.lock().complete_since
    }

    /// Clears the buffer `RETENTION` after the last subscriber is gone; at once outside of a runtime.
    pub fn retire(&self) {
        let epoch = self.next_epoch();
        self.inner.lock().complete_since = None;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.is_empty() => {
                let buffer = self.clone();
                drop(runtime.spawn(async move {
                    tokio::time::sleep(buffer.retention).await;
                    if buffer.inner.lock().epoch == epoch {
                        buffer.clear();
                    }
                }));
            }
            _ => self.clear(),
        }
    }

    /// Flows are wanted, perhaps again: cancels a pending clear.
    pub fn revive(&self) {
        self.next_epoch();
        self.inner.lock().complete_since.get_or_insert_with(Timestamp::now);
    }

    fn next_epoch(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.epoch
    }

    /// Drops all flows and frees their memory.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.oldest = inner.head();
        (inner.flows, inner.bytes) = (VecDeque::new(), 0);
        inner.namespaces.clear();
    }

    /// No more flows will come: followers end.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.head.send_modify(|_| {});
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Waits for `close`.
    pub async fn closed(&self) {
        let mut changed = self.changed();
        while !self.is_closed() && changed.changed().await.is_ok() {}
    }

    /// Namespaces with a flow in the last hour.
    pub fn namespaces(&self, now: Timestamp) -> Vec<String> {
        let mut inner = self.inner.lock();
        inner.namespaces.retain(|_, seen| now.duration_since(*seen) <= NAMESPACE_TTL);
        inner.namespaces.keys().cloned().collect()
    }

    /// At most `most` flows from number `from` on.
    pub fn read(&self, from: u64, most: usize) -> FlowBatch {
        let inner = self.inner.lock();
        let start = from.max(inner.oldest);
        let skip = usize::try_from(start - inner.oldest).unwrap_or(usize::MAX);
        let flows: Vec<_> = inner.flows.iter().skip(skip).take(most).cloned().collect();
        FlowBatch { lost: start - from, next: start.min(inner.head()) + flows.len() as u64, flows }
    }

    /// Number of the oldest flow, and of the next one to come.
    pub fn range(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.oldest, inner.head())
    }

    pub fn len(&self) -> usize {
        self.inner.lock().flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most flows that can be kept.
    pub fn capacity(&self) -> usize {
        self.capacity.min(self.bytes / size_of::<Flow>())
    }

    /// Flows since the start.
    pub fn seen(&self) -> u64 {
        self.range().1
    }

    /// Changes when flows are added.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

impl Inner {
    fn see_namespace(&mut self, namespace: &str, time: Timestamp) {
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
mod tests;
