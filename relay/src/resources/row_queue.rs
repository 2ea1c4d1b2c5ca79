//! The queue between the nodes' streams and one client: bounded by bytes, so that a client that stopped reading costs a fixed
//! amount of memory and never blocks others. What does not fit is counted: received = delivered + lost + queued.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::{RowMetrics, RowResult};

/// Bytes queued for one client.
pub const QUEUE_BYTES: usize = 1 << 20;
/// Bytes queued for all clients together.
pub const TOTAL_QUEUE_BYTES: usize = 12 << 20;

/// Bytes in all queues.
#[derive(Clone, Debug, Default)]
pub struct QueueBudget(Arc<AtomicUsize>);

/// What happened to the rows of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    pub received: u64,
    pub delivered: u64,
    pub lost: u64,
}

#[derive(Clone)]
pub struct RowQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    budget: QueueBudget,
    metrics: RowMetrics,
    bound: usize,
}

#[derive(Default)]
struct State {
    rows: VecDeque<Bytes>,
    bytes: usize,
    counts: RowCounts,
    /// Lost and not reported yet.
    unreported: u64,
    /// The client has gone.
    is_closed: bool,
}

/// What the client gets next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Row(Bytes),
    /// So many rows did not fit, since the last report. They are behind all rows that were queued before.
    Lost(u64),
}

impl RowQueue {
    pub fn new(budget: QueueBudget, metrics: RowMetrics) -> Self {
        Self::with_bound(budget, metrics, QUEUE_BYTES)
    }

    pub(crate) fn with_bound(budget: QueueBudget, metrics: RowMetrics, bound: usize) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: Notify::new(), budget, metrics, bound }))
    }

    /// Queues a row of a node, or counts it as lost.
    pub fn push(&self, row: Bytes) {
        let Shared { state, changed, budget, metrics, bound } = &*self.0;
        let mut state = state.lock();
        state.counts.received += 1;
        metrics.count(RowResult::Received, 1);
        // After a loss nothing is queued until the loss has been reported, so that its place in the stream is right.
        let fits =
            !state.is_closed && state.unreported == 0 && state.bytes + row.len() <= *bound && budget.reserve(row.len());
        if fits {
            state.bytes += row.len();
            state.rows.push_back(row);
        } else {
            state.counts.lost += 1;
            state.unreported += 1;
            metrics.count(RowResult::Lost, 1);
        }
        drop(state);
        changed.notify_one();
    }

    /// Waits for a row, or for a loss to report.
    pub async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.0.changed.notified().await;
        }
    }

    fn try_next(&self) -> Option<Next> {
        if let Some(row) = self.try_next_row() {
            return Some(Next::Row(row));
        }
        let lost = std::mem::take(&mut self.0.state.lock().unreported);
        (lost > 0).then_some(Next::Lost(lost))
    }

    /// A row that is queued already.
    pub fn try_next_row(&self) -> Option<Bytes> {
        let Shared { state, budget, metrics, .. } = &*self.0;
        let mut state = state.lock();
        let row = state.rows.pop_front()?;
        state.bytes -= row.len();
        budget.release(row.len());
        state.counts.delivered += 1;
        metrics.count(RowResult::Delivered, 1);
        Some(row)
    }

    pub fn counts(&self) -> RowCounts {
        self.0.state.lock().counts
    }

    /// Counts what a client that has gone left behind.
    pub fn close(&self) -> RowCounts {
        let Shared { state, budget, metrics, .. } = &*self.0;
        let mut state = state.lock();
        let left = state.rows.len() as u64;
        state.counts.lost += left;
        metrics.count(RowResult::Lost, left);
        budget.release(state.bytes);
        (state.rows, state.bytes, state.is_closed) = (VecDeque::new(), 0, true);
        state.counts
    }
}

impl QueueBudget {
    fn reserve(&self, bytes: usize) -> bool {
        let fits = |used: usize| (used + bytes <= TOTAL_QUEUE_BYTES).then_some(used + bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(bound: usize) -> RowQueue {
        RowQueue::with_bound(QueueBudget::default(), RowMetrics::default(), bound)
    }

    #[test]
    fn loss_is_reported_in_its_place() {
        let queue = queue(4);
        for row in ["aa", "bb", "cc", "dd"] {
            queue.push(Bytes::from_static(row.as_bytes()));
        }
        assert_eq!(queue.try_next(), Some(Next::Row("aa".into())));
        // There is room again, but the row would stand before the report of the two that were lost.
        queue.push("ee".into());
        assert_eq!(queue.try_next(), Some(Next::Row("bb".into())));
        assert_eq!(queue.try_next(), Some(Next::Lost(3)));
        queue.push("ff".into());
        assert_eq!(queue.try_next(), Some(Next::Row("ff".into())));
        assert_eq!(queue.try_next(), None);
        assert_eq!(queue.counts(), RowCounts { received: 6, delivered: 3, lost: 3 });
    }

    #[test]
    fn row_that_comes_after_the_client_has_gone_is_lost() {
        let queue = queue(100);
        queue.push("aa".into());
        assert_eq!(queue.close(), RowCounts { received: 1, delivered: 0, lost: 1 });
        queue.push("bb".into());
        assert_eq!(queue.counts(), RowCounts { received: 2, delivered: 0, lost: 2 });
        assert_eq!(queue.0.budget.used(), 0);
    }

    #[test]
    fn all_clients_together_have_a_bound() {
        let budget = QueueBudget::default();
        let queues: Vec<_> = (0..20).map(|_| RowQueue::new(budget.clone(), RowMetrics::default())).collect();
        let row = Bytes::from(vec![b'x'; 1 << 16]);
        for _ in 0..100 {
            queues.iter().for_each(|queue| queue.push(row.clone()));
        }
        assert_eq!(budget.used(), TOTAL_QUEUE_BYTES);
        queues.iter().for_each(|queue| {
            let counts = queue.close();
            assert_eq!((counts.received, counts.lost), (100, 100));
        });
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn waiting_client_gets_the_next_row() {
        let queue = queue(100);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.push("row".into());
        assert_eq!(waiting.await.unwrap(), Next::Row("row".into()));
    }

    proptest! {
        #[test]
        fn every_row_is_delivered_or_counted(steps in prop::collection::vec((any::<bool>(), 1usize..40), 0..200)) {
            let budget = QueueBudget::default();
            let queue = RowQueue::with_bound(budget.clone(), RowMetrics::default(), 100);
            let (mut pushed, mut read, mut reported) = (0u64, 0u64, 0u64);
            for (push, size) in steps {
                if push {
                    queue.push(Bytes::from(vec![0; size]));
                    pushed += 1;
                } else {
                    match queue.try_next() {
                        Some(Next::Row(_)) => read += 1,
                        Some(Next::Lost(count)) => reported += count,
                        None => {}
                    }
                }
                prop_assert!(budget.used() <= 100);
            }
            let counts = queue.close();
            prop_assert_eq!(counts.received, pushed);
            prop_assert_eq!(counts.delivered, read);
            prop_assert_eq!(counts.received, counts.delivered + counts.lost);
            prop_assert!(counts.lost >= reported);
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
