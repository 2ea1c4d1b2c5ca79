//! The bounded queue between the agent's one thread and a writer's. What does not fit is counted, and stands as a number in
//! what is written next.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use tokio::{sync::oneshot, task::JoinHandle};

use super::writer::{Sink, Trouble, Writer};
use crate::{
    layers::security::{
        SecurityEvent,
        bus::{Next, Subscription},
    },
    report::{Ledger, Place, Problem},
    serve::tetragon::Scene,
};

/// Events that wait for one writer.
const QUEUE: usize = 4096;

/// A writer renders lines and calls the system, nothing that is deep.
const STACK: usize = 256 * 1024;

/// What a writer is given.
pub(super) enum Item {
    Event(Arc<SecurityEvent>),
    Missing(u64),
}

/// One way out. Dropping it ends it without writing what is queued on the bus.
pub(super) struct Running {
    task: JoinHandle<()>,
    ended: Option<oneshot::Receiver<()>>,
    trouble: Trouble,
}

impl Running {
    /// `open` is called on the writer's thread.
    pub(super) fn start<S: Sink>(
        name: &'static str,
        events: Subscription,
        scene: Scene,
        ledger: Ledger,
        open: impl Fn() -> io::Result<S> + Send + 'static,
    ) -> Self {
        let (queue, items) = sync_channel(QUEUE);
        let (end, ended) = oneshot::channel();
        let trouble = Trouble::default();
        let writer = Writer { name, scene, ledger: ledger.clone(), trouble: trouble.clone() };
        let spawned = thread::Builder::new().name(format!("export-{name}")).stack_size(STACK).spawn(move || {
            writer.run(open, &items);
            // Nobody may be waiting.
            let _ = end.send(());
        });
        if let Err(error) = spawned {
            trouble.set(name, &error);
        }
        Self { task: tokio::spawn(forward(name, events, queue, ledger)), ended: Some(ended), trouble }
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        self.trouble.get()
    }

    /// Waits until all is written, which needs the bus to be closed.
    pub(super) async fn finished(mut self) {
        if let Some(ended) = self.ended.take() {
            // An error says that the writer never ran: then there is nothing to wait for.
            let _ = ended.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(name: &'static str, mut events: Subscription, queue: SyncSender<Item>, ledger: Ledger) {
    let mut missing = 0;
    loop {
        let event = match events.next().await {
            Next::Event(event) => event,
            // The bus has entered these already.
            Next::Lost(count) => {
                missing += count;
                continue;
            }
            Next::Closed => break,
        };
        if missing > 0 && queue.try_send(Item::Missing(missing)).is_ok() {
            missing = 0;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(Item::Event(event)) {
            missing += 1;
            ledger.lost(Place::ExportQueue, name, 1);
        }
    }
    if missing > 0 {
        // The ledger has the number, whether or not the last line says it.
        let _ = queue.try_send(Item::Missing(missing));
    }
}
