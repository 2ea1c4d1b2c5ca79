//! Hands the flows of watched interfaces and pods to subscribers: to the node's buffer, and to the streams of captures.

pub(super) mod stream;
pub(super) mod subscriber;
pub(super) mod watched_for;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use trilobite_api::flow::LostEventSource;
use trilobite_crds::node::SourceKind;

use self::{
    subscriber::{Subscriber, SubscriberSpec},
    watched_for::WatchedFor,
};
use super::{flow::Flow, history::FlowBuffer, hubble_metrics::HubbleMetrics};
use crate::plan::{UnitCount, UnitKey};

/// Flows that are gathered for the buffer before its readers wake, unless all records have been read.
const BATCH: usize = 256;

pub(super) struct FlowDispatcher {
    pub(super) buffer: FlowBuffer,
    /// Counts what the stack itself asks for; none in tests.
    pub(super) metrics: Option<HubbleMetrics>,
    subscribers: BTreeMap<UnitKey, Subscriber>,
    pub(super) watched_for: WatchedFor,
    /// On their way to the buffer.
    gathered: Vec<Arc<Flow>>,
    losses_read: Timestamp,
}

impl FlowDispatcher {
    pub(super) fn new(buffer: FlowBuffer) -> Self {
        Self {
            buffer,
            metrics: None,
            subscribers: BTreeMap::new(),
            watched_for: WatchedFor::default(),
            gathered: Vec::new(),
            losses_read: Timestamp::now(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    pub(super) fn contains(&self, key: &UnitKey) -> bool {
        self.subscribers.contains_key(key)
    }

    pub(super) fn subscribe(&mut self, key: UnitKey, subscriber: Subscriber) {
        self.subscribers.insert(key, subscriber);
    }

    /// Marks all subscribers that are no longer wanted. They receive final records until `remove_leaving`.
    pub(super) fn mark_leaving(&mut self, is_wanted: impl Fn(&UnitKey) -> bool) {
        for (key, subscriber) in &mut self.subscribers {
            subscriber.leaving = !is_wanted(key);
        }
    }

    pub(super) fn remove_leaving(&mut self) {
        self.flush();
        self.subscribers.retain(|_, subscriber| !subscriber.leaving);
    }

    pub(super) fn clear(&mut self) {
        self.flush();
        self.subscribers.clear();
        self.watched_for = WatchedFor::default();
    }

    /// Subscribers that are not leaving.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&UnitKey, &SubscriberSpec)> {
        let wanted = self.subscribers.iter().filter(|(_, subscriber)| !subscriber.leaving);
        wanted.map(|(key, subscriber)| (key, &subscriber.spec))
    }

    /// `lost` are the losses of the layer so far.
    pub(super) fn counts(&self, lost: u64) -> BTreeMap<UnitKey, UnitCount> {
        let count = |subscriber: &Subscriber| UnitCount {
            records: subscriber.count.records,
            lost: lost - subscriber.lost_before + subscriber.count.lost,
        };
        self.subscribers.iter().map(|(key, subscriber)| (key.clone(), count(subscriber))).collect()
    }

    /// Gathers a flow for its subscribers; `flush` hands it over.
    pub(super) fn deliver(&mut self, flow: Flow) {
        let Self { watched_for, subscribers, metrics, .. } = self;
        let flow = Arc::new(flow);
        let delivered = deliver_to(watched_for.subscribers(&flow), subscribers, &flow);
        if let Some(metrics) = metrics.as_ref().filter(|_| delivered.to_stack) {
            metrics.record(&flow);
        }
        self.gather(flow, delivered);
    }

    /// As `deliver`, of a flow that the subscribers of the client have in another form: for those of the server alone.
    pub(super) fn deliver_to_server(&mut self, flow: Flow) {
        let Self { watched_for, subscribers, metrics, .. } = self;
        let flow = Arc::new(flow);
        let delivered = deliver_to(watched_for.subscribers_of_server(&flow), subscribers, &flow);
        if let Some(metrics) = metrics.as_ref().filter(|_| delivered.to_stack) {
            metrics.record(&flow);
        }
        self.gather(flow, delivered);
    }

    /// Counts a query that no answer came to. It is no event.
    pub(super) fn count_unanswered(&mut self, query: &Flow) {
        let is_wanted = self.watched_for.subscribers(query).any(|key| key.kind == SourceKind::ObservabilityStack);
        if let Some(metrics) = self.metrics.as_ref().filter(|_| is_wanted) {
            metrics.record_unanswered(query);
        }
    }

    fn gather(&mut self, flow: Arc<Flow>, delivered: Delivered) {
        if delivered.to_any {
            self.gathered.push(flow);
        }
        if self.gathered.len() >= BATCH {
            self.buffer.extend(self.gathered.drain(..));
        }
    }

    /// Hands gathered flows over: to be called when the records at hand are read.
    pub(super) fn flush(&mut self) {
        self.buffer.extend(self.gathered.drain(..));
        for subscriber in self.subscribers.values_mut() {
            subscriber.streams.iter_mut().for_each(stream::StreamSender::flush);
        }
    }

    /// Reports the kernel's losses to everyone, given their total since the start: each subscriber may have wanted what was
    /// lost.
    pub(super) fn report_lost(&mut self, total: u64) {
        let (first, last) = (self.losses_read, Timestamp::now());
        self.losses_read = last;
        self.buffer.set_lost(total);
        for subscriber in self.subscribers.values_mut().filter(|subscriber| subscriber.lost_reported < total) {
            let count = total - subscriber.lost_reported;
            subscriber.lost_reported = total;
            let source = LostEventSource::PerfEventRingBuffer;
            subscriber.streams.iter_mut().for_each(|stream| stream.report_lost(source, count, (first, last)));
        }
    }

    /// Reports events that were lost on the way from the decoder of requests, to everyone: as `report_lost`.
    pub(super) fn report_lost_in_queue(&mut self, count: u64) {
        let now = Timestamp::now();
        self.buffer.add_lost_in_queue(count);
        for subscriber in self.subscribers.values_mut() {
            subscriber.count.lost += count;
            let source = LostEventSource::ObserverEventsQueue;
            subscriber.streams.iter_mut().for_each(|stream| stream.report_lost(source, count, (now, now)));
        }
    }

    /// Departing subscribers still receive the final records of their interfaces; new ones receive records from now on.
    pub(super) fn add_watched_for(&mut self, more: &WatchedFor) {
        self.watched_for.extend(more);
    }
}

/// Whom a flow was delivered to.
#[derive(Clone, Copy, Default)]
struct Delivered {
    to_any: bool,
    to_stack: bool,
}

fn deliver_to<'a>(
    keys: impl Iterator<Item = &'a UnitKey>,
    subscribers: &mut BTreeMap<UnitKey, Subscriber>,
    flow: &Arc<Flow>,
) -> Delivered {
    let mut delivered = Delivered::default();
    for key in keys {
        let Some(subscriber) = subscribers.get_mut(key) else { continue };
        if !subscriber.spec.selects(flow) {
            continue;
        }
        delivered.to_any = true;
        delivered.to_stack |= key.kind == SourceKind::ObservabilityStack;
        subscriber.count.records += 1;
        subscriber.streams.iter_mut().for_each(|stream| stream.push(flow.clone()));
    }
    delivered
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{FlowOutput, FlowsPart};

    use super::{
        stream::{CaptureStream, FlowMessage, StreamSender},
        *,
    };
    use crate::{layers::network::flow::samples::syn, loss::Ledger};

    fn one_capture_with_a_stream() -> (FlowDispatcher, CaptureStream) {
        let spec =
            SubscriberSpec::from_part(&FlowsPart { pods: Default::default(), flow_entries: 256, ring_bytes: 4096 });
        let (sender, stream) = StreamSender::open("shop/capture", FlowOutput::File, "x".into(), Ledger::default());
        let key = UnitKey { kind: SourceKind::FlowCapture, name: "shop/capture".into(), version: "1".into() };
        let mut dispatcher = FlowDispatcher::new(FlowBuffer::default());
        dispatcher.watched_for.add_interface(12, [key.clone()]);
        dispatcher.subscribe(key, Subscriber::new(spec, vec![sender], None, 4));
        (dispatcher, stream)
    }

    #[test]
    fn stream_of_a_capture_has_the_losses_since_it_began() {
        let (mut dispatcher, stream) = one_capture_with_a_stream();
        for total in [4, 9, 9] {
            dispatcher.report_lost(total);
        }
        dispatcher.deliver(syn());
        dispatcher.flush();
        assert_eq!((dispatcher.buffer.lost(), dispatcher.buffer.len()), (9, 1));
        drop(dispatcher);
        assert!(matches!(stream.blocking_next(), Some(FlowMessage::Lost { count: 5, .. })));
        let Some(FlowMessage::Flows(flows)) = stream.blocking_next() else { panic!("no flow") };
        assert_eq!(*flows[0], syn());
        assert!(stream.blocking_next().is_none());
    }
}
