//! One reader of GetFlows: where it begins, what it passes over, when it ends, and what it is told of what it lost.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tonic::Status;

use super::{convert, filter::Filters, mask::FieldMask};
use crate::{
    layers::network::{flow::Flow, history::History},
    report::{Ledger, Place},
    serve::proto::{
        flow::LostEventSource,
        observer::{GetFlowsRequest, GetFlowsResponse},
    },
};

/// Flows that are taken out of the history at a time.
const BATCH: usize = 64;
/// Losses are told at most this often.
const LOSSES_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Reader {
    history: History,
    changed: watch::Receiver<u64>,
    ledger: Ledger,
    node: String,
    filters: Filters,
    mask: FieldMask,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    follow: bool,
    /// Flows that may still be sent; none for all.
    left: Option<u64>,
    next: u64,
    /// Where one that does not follow ends.
    end: u64,
    ready: VecDeque<GetFlowsResponse>,
    ended: bool,
    /// This reader was too slow for them.
    passed_by: Losses,
    /// The kernel had no room for them; `kernel_told` of the history's total are told or entered here.
    in_kernel: Losses,
    kernel_told: u64,
}

struct Losses {
    source: LostEventSource,
    count: u64,
    first: Timestamp,
    told: Option<Instant>,
}

impl Reader {
    pub(super) fn new(
        request: GetFlowsRequest,
        history: History,
        ledger: Ledger,
        node: String,
    ) -> Result<Self, Box<Status>> {
        if request.first && request.follow {
            return Err(Box::new(Status::invalid_argument("first cannot be asked for together with follow")));
        }
        let filters = Filters::new(&request.whitelist, &request.blacklist, &node)?;
        let mask = FieldMask::new(request.field_mask)?;
        let since = request.since.map(|time| timestamp("since", &time)).transpose()?;
        let until = request.until.map(|time| timestamp("until", &time)).transpose()?;
        // Subscribed before the first look, so that nothing comes unseen between the two.
        let changed = history.changed();
        let (oldest, end) = history.range();
        let next = match (since, request.first, request.follow, request.number) {
            (None, true, ..) => oldest,
            (None, false, true, 0) => end,
            (since, _, _, number) => rewound(&history, &filters, since, number),
        };
        let kernel_told = history.lost();
        let left = (!request.follow && request.number > 0).then_some(request.number);
        Ok(Self {
            history,
            changed,
            ledger,
            node,
            filters,
            mask,
            since,
            until,
            follow: request.follow,
            left,
            next,
            end,
            ready: VecDeque::new(),
            ended: false,
            passed_by: Losses::by(LostEventSource::HubbleRingBuffer),
            in_kernel: Losses::by(LostEventSource::PerfEventRingBuffer),
            kernel_told,
        })
    }

    /// The next message; none at the end.
    pub(super) async fn next(&mut self) -> Option<GetFlowsResponse> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.ended {
                return self.tell_losses(true);
            }
            self.changed.mark_unchanged();
            self.advance();
            if let Some(lost) = self.tell_losses(false) {
                return Some(lost);
            }
            if self.ready.is_empty() && !self.ended && self.next >= self.history.seen() {
                if self.history.is_closed() {
                    self.ended = true;
                    continue;
                }
                // Woken to tell what was lost, if there is something to tell.
                let patience =
                    if self.passed_by.count + self.in_kernel.count > 0 { LOSSES_EVERY } else { Duration::MAX };
                let changed = tokio::time::timeout(patience, self.changed.changed()).await;
                self.ended |= matches!(changed, Ok(Err(_)));
            }
        }
    }

    /// Losses pass by every filter and mask: what was lost might have been wanted.
    fn tell_losses(&mut self, at_once: bool) -> Option<GetFlowsResponse> {
        let lost = self.history.lost();
        self.in_kernel.add(lost.saturating_sub(self.kernel_told));
        self.kernel_told = lost;
        self.passed_by.tell(&self.node, at_once).or_else(|| self.in_kernel.tell(&self.node, at_once))
    }

    fn advance(&mut self) {
        let read = self.history.read(self.next, BATCH);
        if read.lost > 0 {
            self.ledger.lost(Place::StreamReader, "", read.lost);
            self.passed_by.add(read.lost);
        }
        let first = read.next - read.flows.len() as u64;
        self.next = read.next;
        for (number, flow) in (first..).zip(read.flows) {
            let is_behind = !self.follow && number >= self.end;
            if is_behind || self.left == Some(0) || self.until.is_some_and(|until| flow.time > until) {
                self.ended = true;
                return;
            }
            if self.since.is_none_or(|since| flow.time >= since) && self.filters.pass(&flow) {
                self.ready.push_back(self.mask.apply(convert::response(&flow, &self.node)));
                self.left = self.left.map(|left| left - 1);
            }
        }
        self.ended |= self.left == Some(0) || (!self.follow && self.next >= self.end);
    }
}

impl Losses {
    fn by(source: LostEventSource) -> Self {
        Self { source, count: 0, first: Timestamp::default(), told: None }
    }

    fn add(&mut self, count: u64) {
        if self.count == 0 && count > 0 {
            self.first = Timestamp::now();
        }
        self.count += count;
    }

    /// What is to be told of them now.
    fn tell(&mut self, node: &str, at_once: bool) -> Option<GetFlowsResponse> {
        let due = at_once || self.told.is_none_or(|told| told.elapsed() >= LOSSES_EVERY);
        if self.count == 0 || !due {
            return None;
        }
        let lost = convert::lost(self.source, self.count, self.first, Timestamp::now(), node);
        (self.count, self.told) = (0, Some(Instant::now()));
        Some(lost)
    }
}

/// Number of the flow from which on there are `number` that match, or all since `since`.
fn rewound(history: &History, filters: &Filters, since: Option<Timestamp>, number: u64) -> u64 {
    let kept = history.read(history.range().0, usize::MAX);
    let mut matching = 0;
    for (flow, back) in kept.flows.iter().rev().zip(1..) {
        let at = kept.next - back;
        if !filters.pass(flow) {
            continue;
        }
        matching += 1;
        match since {
            Some(since) if is_before(flow, since) => return at + 1,
            None if matching == number => return at,
            _ => {}
        }
    }
    kept.next - kept.flows.len() as u64
}

fn is_before(flow: &Flow, since: Timestamp) -> bool {
    flow.time < since
}

fn timestamp(field: &str, time: &prost_types::Timestamp) -> Result<Timestamp, Box<Status>> {
    Timestamp::new(time.seconds, time.nanos)
        .map_err(|error| Box::new(Status::invalid_argument(format!("{field}: {error}"))))
}
