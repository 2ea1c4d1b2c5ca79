//! Writes finished lines through a queue and a thread of its own. Lines that do not fit the queue, or cannot be
//! written, are counted.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::{
    sink::{Sink, WriteProblem, write_or_reopen},
    stdout::Stdout,
};
use crate::loss::{Ledger, LossPoint};

/// Lines that wait to be written.
const QUEUE: usize = 1024;
/// Lines are gathered up to this before they are written, if more are waiting.
const BATCH: usize = 64 * 1024;
/// Enough for a thread that copies lines.
const STACK: usize = 256 * 1024;

/// When it is dropped, queued lines are still written.
pub struct LineQueue {
    queue: SyncSender<Vec<u8>>,
    source: String,
    ledger: Ledger,
}

impl LineQueue {
    /// Writes to standard output; `source` is the name of the lines in the ledger.
    pub fn stdout(source: &str, ledger: &Ledger) -> Self {
        Self::start(source, ledger, || Ok(Stdout))
    }

    /// Queues whole lines.
    pub fn write(&self, lines: &[u8]) {
        if self.queue.try_send(lines.to_vec()).is_err() {
            self.ledger.record_loss(LossPoint::ExportQueue, &self.source, 1);
        }
    }

    fn start<S: Sink>(source: &str, ledger: &Ledger, open: impl Fn() -> io::Result<S> + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel(QUEUE);
        let (name, count) = (source.to_owned(), ledger.clone());
        let thread = thread::Builder::new().name("export-lines".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || write_lines(&name, &count, &open, &waiting)) {
            // The queue has no reader: every line is counted as lost.
            tracing::warn!(%error, source, "lines cannot be written: no thread");
        }
        Self { queue, source: source.to_owned(), ledger: ledger.clone() }
    }
}

fn write_lines<S: Sink>(source: &str, ledger: &Ledger, open: &dyn Fn() -> io::Result<S>, waiting: &Receiver<Vec<u8>>) {
    let problem = WriteProblem::default();
    let mut sink = None;
    while let Ok(mut lines) = waiting.recv() {
        let mut count = 1;
        while lines.len() < BATCH
            && let Ok(more) = waiting.try_recv()
        {
            lines.extend_from_slice(&more);
            count += 1;
        }
        if let Err(error) = write_or_reopen(&mut sink, open, &lines) {
            ledger.record_loss(LossPoint::ExportQueue, source, count);
            problem.set(source, &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use trilobite_crds::node::FileExport;

    use super::{
        super::rotated_file::{RotatedFile, RotationLimits},
        *,
    };

    fn to_file(folder: PathBuf, ledger: &Ledger) -> LineQueue {
        let limits = RotationLimits::new(&FileExport { max_size_mb: 10, max_backups: 5 });
        LineQueue::start("shop/capture", ledger, move || RotatedFile::open(&folder, limits.clone()))
    }

    #[test]
    fn queued_lines_are_written_after_the_last_one_was_given() {
        let folder = std::env::temp_dir().join(format!("trilobite-lines-{}", std::process::id()));
        let ledger = Ledger::default();
        let lines = to_file(folder.clone(), &ledger);
        for number in 0..100 {
            lines.write(format!("{number}\n").as_bytes());
        }
        drop(lines);
        let written = || std::fs::read_to_string(folder.join("events.log")).unwrap_or_default();
        while written().lines().count() < 100 {
            thread::yield_now();
        }
        assert!(written().ends_with("98\n99\n"));
        assert!(ledger.losses().is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let ledger = Ledger::default();
        let lines = to_file(PathBuf::from("/proc/no/such/folder"), &ledger);
        lines.write(b"lost\n");
        while ledger.total_at(LossPoint::ExportQueue) == 0 {
            thread::yield_now();
        }
    }
}
