//! The stream of one GetFlows call: its range, filters and mask, and reports of lost flows.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tonic::Status;
use trilobite_api::{
    field_mask::FlowFieldMask,
    flow::LostEventSource,
    observer::{GetFlowsRequest, GetFlowsResponse},
    read_scope::ReadScope,
};

use super::{filter::FlowFilters, flow_message, visible::visible};
use crate::{
    layers::network::{flow::Flow, history::FlowBuffer, hubble_metrics::FLOWS_MISSED},
    loss::{Ledger, LossPoint},
    serve::{
        read_rows::{ReadResource, ReadRows},
        timestamps::time_in_request,
    },
};

/// Flows that are read from the history at a time.
const BATCH: usize = 64;
/// Interval between two reports of losses.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct FlowStream {
    history: FlowBuffer,
    changed: watch::Receiver<u64>,
    ledger: Ledger,
    node: String,
    selection: FlowSelection,
    rows: ReadRows,
    mask: FlowFieldMask,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    follow: bool,
    /// Number of flows that may still be sent; none for all.
    left: Option<u64>,
    next: u64,
    /// End of the range without `follow`.
    end: u64,
    ready: VecDeque<GetFlowsResponse>,
    ended: bool,
    /// The client read too slowly.
    overwritten: Losses,
    /// The kernel had no room; `kernel_counted` of the history's total are counted here.
    in_kernel: Losses,
    kernel_counted: u64,
    /// As `in_kernel`, on the way from the decoder of requests.
    in_queue: Losses,
    queue_counted: u64,
}

/// Which flows a call gets, and how it sees them.
struct FlowSelection {
    scope: ReadScope,
    filters: FlowFilters,
}

/// What becomes of a flow.
enum Selected {
    Sent(Arc<Flow>),
    FilteredOut,
    Withheld,
}

impl FlowSelection {
    /// The scope comes first: filters see what the call may see.
    fn select(&self, flow: &Arc<Flow>) -> Selected {
        match visible(flow, &self.scope) {
            None => Selected::Withheld,
            Some(flow) if self.filters.pass(&flow) => Selected::Sent(flow),
            Some(_) => Selected::FilteredOut,
        }
    }
}

struct Losses {
    source: LostEventSource,
    count: u64,
    first: Timestamp,
    reported: Option<Instant>,
}

impl FlowStream {
    pub(super) fn new(
        request: GetFlowsRequest,
        history: FlowBuffer,
        ledger: Ledger,
        node: String,
        scope: ReadScope,
        rows: ReadRows,
    ) -> Result<Self, Box<Status>> {
        if request.first && request.follow {
            return Err(Box::new(Status::invalid_argument("first cannot be combined with follow")));
        }
        let selection =
            FlowSelection { scope, filters: FlowFilters::new(&request.whitelist, &request.blacklist, &node)? };
        let mask = FlowFieldMask::new(request.field_mask)
            .map_err(|error| Box::new(Status::invalid_argument(error.to_string())))?;
        let since = request.since.map(|time| time_in_request("since", time)).transpose()?;
        let until = request.until.map(|time| time_in_request("until", time)).transpose()?;
        // Subscribed before the first read, so that no flow is missed between the two.
        let changed = history.changed();
        let (oldest, end) = history.range();
        let next = match (since, request.first, request.follow, request.number) {
            (None, true, ..) => oldest,
            (None, false, true, 0) => end,
            (since, _, _, number) => start_of(&history, &selection, since, number),
        };
        let (kernel_counted, queue_counted) = (history.lost(), history.lost_in_queue());
        let left = (!request.follow && request.number > 0).then_some(request.number);
        Ok(Self {
            history,
            changed,
            ledger,
            node,
            selection,
            rows,
            mask,
            since,
            until,
            follow: request.follow,
            left,
            next,
            end,
            ready: VecDeque::new(),
            ended: false,
            overwritten: Losses::new(LostEventSource::HubbleRingBuffer),
            in_kernel: Losses::new(LostEventSource::PerfEventRingBuffer),
            kernel_counted,
            in_queue: Losses::new(LostEventSource::ObserverEventsQueue),
            queue_counted,
        })
    }

    /// The next message; none at the end.
    pub(super) async fn next(&mut self) -> Option<GetFlowsResponse> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.ended {
                return self.losses(true);
            }
            self.changed.mark_unchanged();
            self.advance();
            if let Some(lost) = self.losses(false) {
                return Some(lost);
            }
            if self.ready.is_empty() && !self.ended && self.next >= self.history.seen() {
                if self.history.is_closed() {
                    self.ended = true;
                    continue;
                }
                // Wakes up to report losses, if there are any.
                let losses = [&self.overwritten, &self.in_kernel, &self.in_queue];
                let timeout = if losses.iter().any(|losses| losses.count > 0) { LOSS_INTERVAL } else { Duration::MAX };
                let changed = tokio::time::timeout(timeout, self.changed.changed()).await;
                self.ended |= matches!(changed, Ok(Err(_)));
            }
        }
    }

    /// Losses ignore filters and mask: the lost flows might have matched.
    fn losses(&mut self, at_once: bool) -> Option<GetFlowsResponse> {
        let lost = self.history.lost();
        self.in_kernel.add(lost.saturating_sub(self.kernel_counted));
        self.kernel_counted = lost;
        let lost = self.history.lost_in_queue();
        self.in_queue.add(lost.saturating_sub(self.queue_counted));
        self.queue_counted = lost;
        let all = [&mut self.overwritten, &mut self.in_kernel, &mut self.in_queue];
        all.into_iter().find_map(|losses| losses.report(&self.node, at_once))
    }

    fn advance(&mut self) {
        let read = self.history.read(self.next, BATCH);
        if read.lost > 0 {
            self.ledger.record_loss_of_kind(LossPoint::StreamReader, "", FLOWS_MISSED, read.lost);
            self.overwritten.add(read.lost);
        }
        let first = read.next - read.flows.len() as u64;
        self.next = read.next;
        for (number, flow) in (first..).zip(read.flows) {
            let is_behind = !self.follow && number >= self.end;
            let is_too_late = self.until.is_some_and(|until| flow.time > until);
            if is_behind || self.left == Some(0) || self.follow && is_too_late {
                self.ended = true;
                return;
            }
            // A request comes with its response, behind flows that are younger than it.
            if is_too_late || self.since.is_some_and(|since| flow.time < since) {
                continue;
            }
            match self.selection.select(&flow) {
                Selected::Sent(flow) => {
                    self.rows.count_sent(ReadResource::Flows);
                    self.ready.push_back(self.mask.apply(flow_message::response(&flow, &self.node)));
                    self.left = self.left.map(|left| left - 1);
                }
                Selected::Withheld => self.rows.count_withheld(ReadResource::Flows),
                Selected::FilteredOut => {}
            }
        }
        self.ended |= self.left == Some(0) || (!self.follow && self.next >= self.end);
    }
}

impl Losses {
    fn new(source: LostEventSource) -> Self {
        Self { source, count: 0, first: Timestamp::default(), reported: None }
    }

    fn add(&mut self, count: u64) {
        if self.count == 0 && count > 0 {
            self.first = Timestamp::now();
        }
        self.count += count;
    }

    /// The message, if it is due.
    fn report(&mut self, node: &str, at_once: bool) -> Option<GetFlowsResponse> {
        let due = at_once || self.reported.is_none_or(|reported| reported.elapsed() >= LOSS_INTERVAL);
        if self.count == 0 || !due {
            return None;
        }
        let lost = flow_message::lost(self.source, self.count, self.first, Timestamp::now(), node);
        (self.count, self.reported) = (0, Some(Instant::now()));
        Some(lost)
    }
}

/// Sequence number of the first flow to read, so that `number` flows match, or all since `since`.
fn start_of(history: &FlowBuffer, selection: &FlowSelection, since: Option<Timestamp>, number: u64) -> u64 {
    let kept = history.read(history.range().0, usize::MAX);
    let first = kept.next - kept.flows.len() as u64;
    if let Some(since) = since {
        // Not from the end: a slow request is older than the flows before it.
        let before = kept.flows.iter().take_while(|flow| flow.time < since).count();
        return first + before as u64;
    }
    let mut matching = 0;
    for (flow, back) in kept.flows.iter().rev().zip(1..) {
        if matches!(selection.select(flow), Selected::Sent(_)) {
            matching += 1;
            if matching == number {
                return kept.next - back;
            }
        }
    }
    first
}
