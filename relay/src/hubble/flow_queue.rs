//! Flows of all nodes on their way to one client that follows them: sorted by time as far as they come within a second of each
//! other, and bounded by bytes. What does not fit is counted, and reported to the client as lost.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost::Message as _;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use trilobite_api::{
    flow::{LostEvent, LostEventSource},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
    relay::NodeState,
};
use trilobite_crds::read_api::RELAY;

use super::{
    call::{is_flow, time_of},
    node_status::NodeChanges,
};
use crate::{
    metrics::{RowMetrics, RowResult},
    resources::{
        byte_budget::BudgetShare,
        stream_item::{now_nanoseconds, timestamp},
    },
};

/// Flows that wait for earlier ones, and how long they do, as in hubble-relay.
const SORTED: usize = 100;
const DRAIN_AFTER: Duration = Duration::from_secs(1);
/// Bytes queued for one client.
const QUEUE_BYTES: usize = 1 << 20;
/// How long an agent that keeps its flows waits for a client that reads nothing.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct FlowQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    /// The client has read, or gone.
    read: Notify,
    share: BudgetShare,
    rows: RowMetrics,
    bound: usize,
}

#[derive(Default)]
struct State {
    flows: BinaryHeap<Reverse<Queued>>,
    bytes: usize,
    arrivals: u64,
    /// Lost and not reported yet.
    lost: u64,
    changes: NodeChanges,
    messages: Vec<GetFlowsResponse>,
    /// The client has gone.
    is_closed: bool,
}

struct Queued {
    time: u64,
    arrival: u64,
    arrived: Instant,
    bytes: usize,
    message: GetFlowsResponse,
}

enum Next {
    Message(Box<GetFlowsResponse>),
    /// The next flow is due then; none if there is no flow.
    Due(Option<Instant>),
}

impl FlowQueue {
    pub(super) fn new(share: BudgetShare, rows: RowMetrics) -> Self {
        Self::with_bound(share, rows, QUEUE_BYTES)
    }

    fn with_bound(share: BudgetShare, rows: RowMetrics, bound: usize) -> Self {
        let (changed, read) = (Notify::new(), Notify::new());
        Self(Arc::new(Shared { state: Mutex::default(), changed, read, share, rows, bound }))
    }

    /// Queues what a node has sent, or counts it as lost.
    pub(super) fn push(&self, message: GetFlowsResponse) {
        let Shared { state, changed, share, rows, bound, .. } = &*self.0;
        let (is_flow, time, bytes) = (is_flow(&message), time_of(&message), size(&message));
        let mut state = state.lock();
        if is_flow {
            rows.count(RowResult::Received, 1);
        }
        if !state.is_closed && state.bytes + bytes <= *bound && share.try_reserve(bytes) {
            state.bytes += bytes;
            state.arrivals += 1;
            let arrival = state.arrivals;
            state.flows.push(Reverse(Queued { time, arrival, arrived: Instant::now(), bytes, message }));
        } else {
            let lost = lost_in(&message);
            state.lost += lost;
            if is_flow {
                rows.count(RowResult::Lost, lost);
            }
        }
        drop(state);
        changed.notify_one();
    }

    /// Queues what an agent keeps meanwhile, once the client has read enough; a client that reads nothing is not waited for.
    pub(super) async fn push_when_read(&self, message: GetFlowsResponse) {
        let bytes = size(&message);
        loop {
            let mut read = std::pin::pin!(self.0.read.notified());
            read.as_mut().enable();
            let must_wait = {
                let state = self.0.state.lock();
                !state.is_closed && state.lost == 0 && state.bytes > 0 && state.bytes + bytes > self.0.bound
            };
            if !must_wait || timeout(ROOM_TIMEOUT, read).await.is_err() {
                return self.push(message);
            }
        }
    }

    /// Reports how a node is.
    pub(super) fn report(&self, node: &str, change: NodeState, text: &str) {
        self.0.state.lock().changes.record(node, change, text);
        self.0.changed.notify_one();
    }

    /// Waits for a message. May be dropped while it waits.
    pub(super) async fn next(&self) -> GetFlowsResponse {
        loop {
            let changed = self.0.changed.notified();
            match self.try_next(Instant::now()) {
                Next::Message(message) => return *message,
                Next::Due(None) => changed.await,
                Next::Due(Some(due)) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// Changes of nodes and losses come before flows.
    fn try_next(&self, now: Instant) -> Next {
        let Shared { state, read, share, rows, .. } = &*self.0;
        let mut state = state.lock();
        if state.messages.is_empty() && !state.changes.is_empty() {
            state.messages = state.changes.drain();
            state.messages.reverse();
        }
        if let Some(message) = state.messages.pop() {
            return Next::Message(Box::new(message));
        }
        if state.lost > 0 {
            return Next::Message(Box::new(lost_message(std::mem::take(&mut state.lost))));
        }
        let due = state.flows.peek().map(|Reverse(head)| head.arrived + DRAIN_AFTER);
        if state.flows.len() <= SORTED && due.is_none_or(|due| now < due) {
            return Next::Due(due);
        }
        let Some(Reverse(Queued { bytes, message, .. })) = state.flows.pop() else { return Next::Due(None) };
        state.bytes -= bytes;
        share.release(bytes);
        read.notify_waiters();
        if is_flow(&message) {
            rows.count(RowResult::Delivered, 1);
        }
        Next::Message(Box::new(message))
    }

    /// Counts what a client that has gone left behind.
    pub(super) fn close(&self) {
        let Shared { state, read, share, rows, .. } = &*self.0;
        let mut state = state.lock();
        read.notify_waiters();
        let left = std::mem::take(&mut state.flows);
        rows.count(RowResult::Lost, left.iter().filter(|Reverse(queued)| is_flow(&queued.message)).count() as u64);
        share.release(std::mem::take(&mut state.bytes));
        state.is_closed = true;
    }
}

/// Memory of a message: decoded, each field takes more than on the wire.
fn size(message: &GetFlowsResponse) -> usize {
    size_of::<Queued>() + 2 * message.encoded_len()
}

/// Flows that are lost with a message: itself, or those whose loss it reports.
fn lost_in(message: &GetFlowsResponse) -> u64 {
    match &message.response_types {
        Some(ResponseTypes::LostEvents(lost)) => lost.num_events_lost,
        Some(ResponseTypes::Flow(_)) => 1,
        Some(ResponseTypes::NodeStatus(_)) | None => 0,
    }
}

fn lost_message(count: u64) -> GetFlowsResponse {
    let time = Some(timestamp(now_nanoseconds()));
    let source = LostEventSource::ObserverEventsQueue.into();
    let lost = LostEvent { source, num_events_lost: count, last: time, ..LostEvent::default() };
    GetFlowsResponse { node_name: RELAY.to_owned(), time, response_types: Some(ResponseTypes::LostEvents(lost)) }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.arrival).cmp(&(other.time, other.arrival))
    }
}

#[cfg(test)]
mod tests {
    use trilobite_api::flow::Flow;

    use super::*;
    use crate::{access::Tenant, resources::byte_budget::ByteBudget};

    fn queue(budget: &ByteBudget, bound: usize) -> FlowQueue {
        FlowQueue::with_bound(budget.share(Tenant::User("zoe".into())), RowMetrics::default(), bound)
    }

    fn flow(time: u64) -> GetFlowsResponse {
        let response_types = Some(ResponseTypes::Flow(Flow::default()));
        GetFlowsResponse { time: Some(timestamp(time)), response_types, ..GetFlowsResponse::default() }
    }

    fn lost(message: &GetFlowsResponse) -> u64 {
        match &message.response_types {
            Some(ResponseTypes::LostEvents(lost)) => lost.num_events_lost,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn flows_of_the_same_second_come_in_the_order_of_time() {
        let queue = queue(&ByteBudget::default(), QUEUE_BYTES);
        let start = Instant::now();
        [7, 5, 9].into_iter().for_each(|time| queue.push(flow(time)));
        for time in [5, 7, 9] {
            assert_eq!(time_of(&queue.next().await), time);
        }
        assert_eq!(start.elapsed(), DRAIN_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn full_buffer_is_drained_at_once() {
        let queue = queue(&ByteBudget::default(), QUEUE_BYTES);
        (0..=SORTED as u64).rev().for_each(|time| queue.push(flow(time + 1)));
        let start = Instant::now();
        assert_eq!(time_of(&queue.next().await), 1);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(time_of(&queue.next().await), 2);
        assert_eq!(start.elapsed(), DRAIN_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_counted_and_reported() {
        let budget = ByteBudget::default();
        let queue = queue(&budget, 3 * size(&flow(1)));
        (1..=10).for_each(|time| queue.push(flow(time)));
        let mut reported = flow(11);
        let losses = LostEvent { num_events_lost: 5, ..LostEvent::default() };
        reported.response_types = Some(ResponseTypes::LostEvents(losses));
        queue.push(reported);
        assert_eq!(lost(&queue.next().await), 12, "its own, and those that a node has reported");
        let mut times = Vec::new();
        for _ in 0..3 {
            times.push(time_of(&queue.next().await));
        }
        assert_eq!((times, budget.used()), (vec![1, 2, 3], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn past_waits_for_a_client_that_reads() {
        let bound = SORTED as u64 + 50;
        let queue = queue(&ByteBudget::default(), usize::try_from(bound).unwrap() * size(&flow(1 << 20)));
        let pushing = tokio::spawn({
            let queue = queue.clone();
            async move {
                for number in 0..500 {
                    queue.push_when_read(flow((1 << 20) + number)).await;
                }
            }
        });
        for number in 0..500 {
            assert_eq!(time_of(&queue.next().await), (1 << 20) + number);
        }
        pushing.await.unwrap();
        for number in 0..bound + 7 {
            queue.push_when_read(flow((1 << 20) + number)).await;
        }
        assert_eq!(lost(&queue.next().await), 7, "a client that reads nothing is not waited for");
    }

    #[tokio::test]
    async fn changes_of_nodes_come_before_flows() {
        let queue = queue(&ByteBudget::default(), QUEUE_BYTES);
        queue.push(flow(1));
        queue.report("alder", NodeState::NodeUnavailable, "felled");
        queue.report("birch", NodeState::NodeConnected, "");
        for state in [NodeState::NodeConnected, NodeState::NodeUnavailable] {
            match queue.next().await.response_types {
                Some(ResponseTypes::NodeStatus(status)) => assert_eq!(status.state_change(), state),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn client_that_has_gone_takes_no_memory() {
        let budget = ByteBudget::default();
        let queue = queue(&budget, QUEUE_BYTES);
        queue.push(flow(1));
        queue.close();
        queue.push(flow(2));
        assert_eq!(budget.used(), 0);
    }
}
