//! Writes the stream of one capture, on a thread of its own. Lines that cannot be written are counted.

use std::{io, sync::Arc, thread};

use tokio::sync::mpsc::Sender;

use crate::{
    export::sink::{Sink, WriteProblem, write_or_reopen},
    layers::network::{CaptureStream, FlowMessage},
    loss::{Ledger, LossPoint},
    serve::hubble,
};

/// Lines are gathered up to this size before they are written, if more flows wait.
const BATCH: usize = 64 * 1024;
/// Enough for a thread that makes lines.
const STACK: usize = 256 * 1024;

#[derive(Clone)]
pub(super) struct CaptureWriter {
    /// Name of the node, as the lines carry it.
    pub(super) node: Arc<str>,
    pub(super) ledger: Ledger,
    /// Dropped with the last thread.
    pub(super) _running: Sender<()>,
}

impl CaptureWriter {
    /// Ends when the stream has ended and is written.
    pub(super) fn start<S: Sink>(&self, stream: CaptureStream, open: impl Fn() -> io::Result<S> + Send + 'static) {
        let (writer, name) = (self.clone(), stream.name.clone());
        let thread = thread::Builder::new().name("export-capture".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || writer.write_stream(&stream, open)) {
            // The stream is dropped with the thread: the layer counts its flows as lost.
            tracing::warn!(%error, capture = name, "flows cannot be written: no thread");
        }
    }

    fn write_stream<S: Sink>(&self, stream: &CaptureStream, open: impl Fn() -> io::Result<S>) {
        let source = format!("FlowCapture/{}", stream.name);
        let problem = WriteProblem::default();
        let (mut sink, mut lines) = (None, Vec::new());
        while let Some(message) = stream.blocking_next() {
            let mut count = append(message, &self.node, &mut lines);
            while lines.len() < BATCH
                && let Some(message) = stream.try_next()
            {
                count += append(message, &self.node, &mut lines);
            }
            if let Err(error) = write_or_reopen(&mut sink, &open, &lines) {
                self.ledger.record_loss(LossPoint::ExportQueue, &source, count);
                problem.set(&source, &error);
            }
            lines.clear();
            // A burst does not keep its memory.
            lines.shrink_to(2 * BATCH);
        }
    }
}

/// Returns the number of lines.
fn append(message: FlowMessage, node: &str, lines: &mut Vec<u8>) -> u64 {
    match message {
        FlowMessage::Flows(flows) => {
            flows.iter().for_each(|flow| hubble::append_json_line(flow, node, lines));
            flows.len() as u64
        }
        FlowMessage::Lost { source, count, first, last } => {
            hubble::append_lost_line(source, count, (first, last), node, lines);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use trilobite_api::flow::LostEventSource;
    use trilobite_crds::node::FlowOutput;

    use super::*;
    use crate::{
        export::{
            captures::FILE,
            rotated_file::{RotatedFile, RotationLimits},
        },
        layers::network::{StreamSender, flow::samples::syn},
    };

    /// Writes a hundred flows to a folder; returns their losses.
    fn write_flows(folder: PathBuf) -> Ledger {
        let ledger = Ledger::default();
        let (mut sender, stream) = StreamSender::open("shop/capture", FlowOutput::File, "x".into(), ledger.clone());
        let writer =
            CaptureWriter { node: "n1".into(), ledger: ledger.clone(), _running: tokio::sync::mpsc::channel(1).0 };
        writer.start(stream, move || RotatedFile::open(&folder, RotationLimits::new(&FILE)));
        (0..100).for_each(|_| sender.push(Arc::new(syn())));
        sender.report_lost(LostEventSource::PerfEventRingBuffer, 5, (syn().time, syn().time));
        ledger
    }

    fn wait_until(is_done: impl Fn() -> bool) {
        while !is_done() {
            thread::yield_now();
        }
    }

    #[test]
    fn queued_flows_are_written_after_the_capture_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = write_flows(folder.path().to_owned());
        let written = || std::fs::read_to_string(folder.path().join("events.log")).unwrap_or_default();
        wait_until(|| written().lines().count() == 101);
        assert!(written().lines().take(100).all(|line| line.contains("front-1")));
        let last = written().lines().last().unwrap().to_owned();
        assert!(last.contains(r#""source":"PERF_EVENT_RING_BUFFER","num_events_lost":"5""#), "{last}");
        assert!(ledger.losses().is_empty());
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let ledger = write_flows(Path::new("/proc/no/such/folder").to_owned());
        wait_until(|| ledger.total_at(LossPoint::ExportQueue) == 101);
    }
}
