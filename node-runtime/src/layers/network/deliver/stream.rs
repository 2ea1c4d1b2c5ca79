//! The streams of captures: the layer opens one for each output of a FlowCapture, and the export that subscribed reads it.
//! Flows are handed over in batches, so that the reader's thread wakes once for many.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use jiff::Timestamp;
use trilobite_api::flow::LostEventSource;
use trilobite_crds::node::FlowOutput;

use crate::{
    layers::network::flow::Flow,
    loss::{Ledger, LossPoint},
};

/// Flows that wait for a reader; those beyond are lost, and counted.
const QUEUE: usize = 4096;

/// Flows that are gathered before they are handed over, unless all records have been read.
const BATCH: usize = 64;

pub enum CaptureEvent {
    /// An output of a capture.
    Opened(CaptureStream),
    /// Names of the active captures, `namespace/name`; all others are over.
    Active(BTreeSet<String>),
}

pub enum FlowMessage {
    Flows(Vec<Arc<Flow>>),
    /// There was no room for records, packets or events; which flows they belong to is unknown.
    Lost {
        source: LostEventSource,
        count: u64,
        first: Timestamp,
        last: Timestamp,
    },
}

/// The flows of one capture for one output. It ends when the capture is over and all its flows are read.
pub struct CaptureStream {
    /// `namespace/name` of the capture.
    pub name: String,
    pub output: FlowOutput,
    messages: mpsc::Receiver<FlowMessage>,
    queued: Arc<AtomicUsize>,
}

impl CaptureStream {
    /// Waits for the next message; none at the end.
    pub fn blocking_next(&self) -> Option<FlowMessage> {
        Some(self.dequeued(self.messages.recv().ok()?))
    }

    /// The next message, if there is one now.
    pub fn try_next(&self) -> Option<FlowMessage> {
        Some(self.dequeued(self.messages.try_recv().ok()?))
    }

    fn dequeued(&self, message: FlowMessage) -> FlowMessage {
        if let FlowMessage::Flows(flows) = &message {
            self.queued.fetch_sub(flows.len(), Ordering::Relaxed);
        }
        message
    }
}

/// The layer's end of a `CaptureStream`.
pub(crate) struct StreamSender {
    messages: mpsc::Sender<FlowMessage>,
    queued: Arc<AtomicUsize>,
    gathered: Vec<Arc<Flow>>,
    source: String,
    ledger: Ledger,
}

impl StreamSender {
    /// `source` is the capture's name in the ledger.
    pub(crate) fn open(name: &str, output: FlowOutput, source: String, ledger: Ledger) -> (Self, CaptureStream) {
        let (sender, messages) = mpsc::channel();
        let queued = Arc::<AtomicUsize>::default();
        let stream = CaptureStream { name: name.to_owned(), output, messages, queued: queued.clone() };
        (Self { messages: sender, queued, gathered: Vec::new(), source, ledger }, stream)
    }

    pub(crate) fn push(&mut self, flow: Arc<Flow>) {
        self.gathered.push(flow);
        if self.gathered.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over the flows that were gathered.
    pub(super) fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let mut flows = std::mem::take(&mut self.gathered);
        let room = QUEUE.saturating_sub(self.queued.load(Ordering::Relaxed));
        let mut lost = flows.len().saturating_sub(room);
        flows.truncate(room);
        if !flows.is_empty() {
            let count = flows.len();
            self.queued.fetch_add(count, Ordering::Relaxed);
            if self.messages.send(FlowMessage::Flows(flows)).is_err() {
                lost += count;
            }
        }
        if lost > 0 {
            self.ledger.record_loss(LossPoint::ExportQueue, &self.source, lost as u64);
        }
    }

    /// A reader that is gone needs no report.
    pub(crate) fn report_lost(&mut self, source: LostEventSource, count: u64, (first, last): (Timestamp, Timestamp)) {
        self.flush();
        let _ = self.messages.send(FlowMessage::Lost { source, count, first, last });
    }
}

impl Drop for StreamSender {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::samples::syn;

    #[test]
    fn flows_beyond_the_queue_are_counted_and_the_first_are_kept() {
        let ledger = Ledger::default();
        let (mut sender, stream) =
            StreamSender::open("shop/capture", FlowOutput::File, "FlowCapture/shop/capture".into(), ledger.clone());
        let flow = Arc::new(syn());
        (0..QUEUE + 100).for_each(|_| sender.push(flow.clone()));
        drop(sender);
        let mut read = 0;
        while let Some(FlowMessage::Flows(flows)) = stream.blocking_next() {
            read += flows.len();
        }
        assert_eq!((read, ledger.total_at(LossPoint::ExportQueue)), (QUEUE, 100));
    }

    #[test]
    fn flows_for_a_reader_that_is_gone_are_counted() {
        let ledger = Ledger::default();
        let (mut sender, stream) = StreamSender::open("shop/capture", FlowOutput::File, "x".into(), ledger.clone());
        drop(stream);
        sender.push(Arc::new(syn()));
        sender.flush();
        assert_eq!(ledger.total_at(LossPoint::ExportQueue), 1);
    }
}
