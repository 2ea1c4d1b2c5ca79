//! The queue between the nodes' streams and one client: bounded by bytes, so that a client that stopped reading costs a fixed
//! amount of memory and never blocks others. What does not fit is counted: received = delivered + lost + queued.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::byte_budget::BudgetShare;
use crate::metrics::{RowMetrics, RowResult};

/// Bytes queued for one client.
pub const QUEUE_BYTES: usize = 1 << 20;

/// How long a stream that can wait does so for a client that reads nothing.
const ROOM_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(1) };

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
    /// The client has read, or gone.
    read: Notify,
    share: BudgetShare,
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
    pub fn new(share: BudgetShare, metrics: RowMetrics) -> Self {
        Self::with_bound(share, metrics, QUEUE_BYTES)
    }

    pub(crate) fn with_bound(share: BudgetShare, metrics: RowMetrics, bound: usize) -> Self {
        let (changed, read) = (Notify::new(), Notify::new());
        Self(Arc::new(Shared { state: Mutex::default(), changed, read, share, metrics, bound }))
    }

    /// Queues a row of a node, or counts it as lost.
    pub fn push(&self, row: Bytes) {
        let Shared { state, changed, share, metrics, bound, .. } = &*self.0;
        let mut state = state.lock();
        state.counts.received += 1;
        metrics.count(RowResult::Received, 1);
        // After a loss nothing is queued until the loss has been reported, so that its place in the stream is right.
        let fits = !state.is_closed
            && state.unreported == 0
            && state.bytes + row.len() <= *bound
            && share.try_reserve(row.len());
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

    /// Queues a row of a stream that its agent holds meanwhile, once the client has read enough; a client that reads nothing is
    /// not waited for.
    pub async fn push_when_read(&self, row: Bytes) {
        loop {
            let mut read = std::pin::pin!(self.0.read.notified());
            read.as_mut().enable();
            let must_wait = {
                let state = self.0.state.lock();
                !state.is_closed && state.unreported == 0 && state.bytes + row.len() > self.0.bound && state.bytes > 0
            };
            if !must_wait || timeout(ROOM_TIMEOUT, read).await.is_err() {
                return self.push(row);
            }
        }
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
        let Shared { state, read, share, metrics, .. } = &*self.0;
        let mut state = state.lock();
        let row = state.rows.pop_front()?;
        state.bytes -= row.len();
        share.release(row.len());
        read.notify_waiters();
        state.counts.delivered += 1;
        metrics.count(RowResult::Delivered, 1);
        Some(row)
    }

    pub fn counts(&self) -> RowCounts {
        self.0.state.lock().counts
    }

    /// Counts what a client that has gone left behind.
    pub fn close(&self) -> RowCounts {
        let Shared { state, read, share, metrics, .. } = &*self.0;
        let mut state = state.lock();
        read.notify_waiters();
        let left = state.rows.len() as u64;
        state.counts.lost += left;
        metrics.count(RowResult::Lost, left);
        share.release(state.bytes);
        (state.rows, state.bytes, state.is_closed) = (VecDeque::new(), 0, true);
        state.counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        access::Tenant,
        resources::byte_budget::{ByteBudget, SHARE_BYTES},
    };

    fn share(budget: &ByteBudget, user: &str) -> BudgetShare {
        budget.share(Tenant::User(user.to_owned()))
    }

    fn queue(bound: usize) -> RowQueue {
        RowQueue::with_bound(share(&ByteBudget::default(), "zoe"), RowMetrics::default(), bound)
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
        assert!(queue.0.share.try_reserve(SHARE_BYTES), "nothing is reserved");
    }

    #[test]
    fn watches_of_one_tenant_leave_room_for_others() {
        let budget = ByteBudget::default();
        let queue = |user| RowQueue::new(share(&budget, user), RowMetrics::default());
        let stopped: Vec<_> = (0..32).map(|_| queue("zoe")).collect();
        let row = Bytes::from(vec![b'x'; 1 << 16]);
        for _ in 0..100 {
            stopped.iter().for_each(|queue| queue.push(row.clone()));
        }
        assert_eq!(budget.used(), SHARE_BYTES);
        let other = queue("ida");
        (0..16).for_each(|_| other.push(row.clone()));
        assert_eq!(other.counts(), RowCounts { received: 16, delivered: 0, lost: 0 });
        other.close();
        stopped.iter().for_each(|queue| {
            let counts = queue.close();
            assert_eq!((counts.received, counts.lost), (100, 100));
        });
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn stream_that_can_wait_loses_nothing_while_the_client_reads() {
        let queue = queue(4);
        let pushing = tokio::spawn({
            let queue = queue.clone();
            async move {
                for _ in 0..100 {
                    queue.push_when_read("aa".into()).await;
                }
            }
        });
        for _ in 0..100 {
            assert_eq!(queue.next().await, Next::Row("aa".into()));
        }
        pushing.await.unwrap();
        assert_eq!(queue.counts(), RowCounts { received: 100, delivered: 100, lost: 0 });
        for _ in 0..5 {
            queue.push_when_read("bb".into()).await;
        }
        assert_eq!(queue.counts().lost, 3, "the first was waited for, and then there is a loss to report");
        queue.close();
        queue.push_when_read("cc".into()).await;
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
            let budget = ByteBudget::default();
            let queue = RowQueue::with_bound(share(&budget, "zoe"), RowMetrics::default(), 100);
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
