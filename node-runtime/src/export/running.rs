//! One way out: a thread that reads the bus by itself, so that a write that blocks holds back nothing else. What it could
//! not take in time is counted by the bus, and stands as a number in what is written next.

use std::{io, thread};

use tokio::sync::oneshot;

use super::writer::{Sink, Trouble, Writer};
use crate::{
    layers::security::bus::EventBus,
    report::{Ledger, Place, Problem},
    serve::tetragon::Scene,
};

/// A writer renders lines and calls the system, nothing that is deep.
const STACK: usize = 256 * 1024;

/// Dropping it ends it, after what is queued for it.
pub(super) struct Running {
    bus: EventBus,
    id: u64,
    ended: oneshot::Receiver<()>,
    trouble: Trouble,
}

impl Running {
    /// `open` is called on the writer's thread, and again after it failed.
    pub(super) fn start<S: Sink>(
        name: &str,
        bus: &EventBus,
        scene: Scene,
        ledger: Ledger,
        open: impl Fn() -> io::Result<S> + Send + 'static,
    ) -> Self {
        let events = bus.subscribe_to(Place::ExportQueue, |_| true);
        let (end, ended) = oneshot::channel();
        let trouble = Trouble::default();
        let running = Self { bus: bus.clone(), id: events.id(), ended, trouble: trouble.clone() };
        let writer = Writer { name: name.into(), scene, ledger, trouble };
        let spawned = thread::Builder::new().name("export".into()).stack_size(STACK).spawn(move || {
            writer.run(open, events);
            // Nobody may be waiting.
            let _ = end.send(());
        });
        if let Err(error) = spawned {
            running.trouble.set(name, &error);
        }
        running
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        self.trouble.get()
    }

    /// Waits until what is queued is written.
    pub(super) async fn finish(mut self) {
        self.bus.end(self.id);
        // An error says that the writer never ran: then there is nothing to wait for.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bus.end(self.id);
    }
}
