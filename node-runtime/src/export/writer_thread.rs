//! The thread of one event export, with a subscription of its own: a write that blocks does not delay others. The bus
//! counts the events that the thread is too slow for, and the next lines report their number.

use std::{io, thread};

use tokio::sync::oneshot;

use super::{
    counts::ExportCounts,
    event_writer::EventWriter,
    selection::{CompiledSelection, SharedSelection},
    sink::{Sink, WriteProblem},
};
use crate::{
    layers::security::event_bus::EventBus,
    loss::{Ledger, LossPoint},
    problem::Problem,
    serve::tetragon::EventEncoder,
};

/// Enough for a thread that makes and writes lines.
const STACK: usize = 256 * 1024;

/// Dropping it ends the thread after the queued events.
pub(super) struct WriterThread {
    bus: EventBus,
    id: u64,
    ended: oneshot::Receiver<()>,
    problem: WriteProblem,
    selection: SharedSelection,
}

impl WriterThread {
    /// `open` is called on the thread, and again after a failure.
    pub(super) fn start<S: Sink>(
        name: &str,
        bus: &EventBus,
        encoder: EventEncoder,
        ledger: Ledger,
        has_short_lines: bool,
        (selection, counts): (CompiledSelection, ExportCounts),
        open: impl Fn() -> io::Result<S> + Send + 'static,
    ) -> Self {
        let wants_ancestors = selection.wants_ancestors();
        let selection = SharedSelection::new(selection);
        let selects = selection.clone();
        let events =
            bus.subscribe_with(LossPoint::ExportQueue, wants_ancestors, move |event| selects.get().selects(event));
        let (end, ended) = oneshot::channel();
        let problem = WriteProblem::default();
        let thread =
            Self { bus: bus.clone(), id: events.id(), ended, problem: problem.clone(), selection: selection.clone() };
        let writer = EventWriter { name: name.into(), encoder, ledger, problem, has_short_lines, selection, counts };
        let spawned = thread::Builder::new().name("export".into()).stack_size(STACK).spawn(move || {
            writer.write_events(open, events);
            // `finish` may not be waiting.
            let _ = end.send(());
        });
        if let Err(error) = spawned {
            thread.problem.set(name, &error);
        }
        thread
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        self.problem.get()
    }

    /// From the next event on.
    pub(super) fn set_selection(&self, selection: CompiledSelection) {
        self.bus.set_wants_ancestors(self.id, selection.wants_ancestors());
        self.selection.set(selection);
    }

    /// Waits until queued events are written.
    pub(super) async fn finish(mut self) {
        self.bus.unsubscribe(self.id);
        // An error means that the thread never started.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.bus.unsubscribe(self.id);
    }
}
