//! Lines that another room has made, on their way out by a queue and a thread of their own. What finds the queue full, and
//! what cannot be written, is counted.

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use trilobite_crds::node::FileExport;

use super::{
    rotated::{Limits, Rotated},
    stdout::Stdout,
    writer::{Sink, Trouble, write},
};
use crate::report::{Ledger, Place};

/// Lines that wait to be written.
const QUEUE: usize = 1024;
/// Lines are gathered up to this before they are written, if more are waiting.
const BATCH: usize = 64 * 1024;
/// Enough for a thread that copies lines.
const STACK: usize = 256 * 1024;
/// A file of lines is closed at this size, and so many closed ones are kept, where nobody says another.
const FILE: FileExport = FileExport { max_size_mb: 10, max_backups: 5 };

/// A way out for lines. When it is dropped, what is queued is still written.
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    of: String,
    ledger: Ledger,
}

impl Lines {
    /// To standard output; `of` is whose lines they are, in the ledger.
    pub fn stdout(of: &str, ledger: &Ledger) -> Self {
        Self::start(of, ledger, || Ok(Stdout))
    }

    /// To `events.log` in `folder`, rotated.
    pub fn file(of: &str, ledger: &Ledger, folder: PathBuf) -> Self {
        Self::start(of, ledger, move || Rotated::open(&folder, Limits::new(&FILE)))
    }

    /// Queues whole lines.
    pub fn write(&self, lines: &[u8]) {
        if self.queue.try_send(lines.to_vec()).is_err() {
            self.ledger.lost(Place::ExportQueue, &self.of, 1);
        }
    }

    fn start<S: Sink>(of: &str, ledger: &Ledger, open: impl Fn() -> io::Result<S> + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel(QUEUE);
        let (name, count) = (of.to_owned(), ledger.clone());
        let thread = thread::Builder::new().name("export-lines".into()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || run(&name, &count, &open, &waiting)) {
            // The queue's other end is gone with the thread that was not: every line is counted as lost.
            tracing::warn!(%error, of, "lines cannot be written: no thread");
        }
        Self { queue, of: of.to_owned(), ledger: ledger.clone() }
    }
}

fn run<S: Sink>(of: &str, ledger: &Ledger, open: &dyn Fn() -> io::Result<S>, waiting: &Receiver<Vec<u8>>) {
    let trouble = Trouble::default();
    let mut sink = None;
    while let Ok(mut lines) = waiting.recv() {
        let mut count = 1;
        while lines.len() < BATCH
            && let Ok(more) = waiting.try_recv()
        {
            lines.extend_from_slice(&more);
            count += 1;
        }
        if let Err(error) = write(&mut sink, open, &lines) {
            ledger.lost(Place::ExportQueue, of, count);
            trouble.set(of, &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_is_written_after_the_last_line_was_given() {
        let folder = std::env::temp_dir().join(format!("trilobite-lines-{}", std::process::id()));
        let ledger = Ledger::default();
        let lines = Lines::file("shop/capture", &ledger, folder.clone());
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
        let lines = Lines::file("shop/capture", &ledger, PathBuf::from("/proc/no/such/folder"));
        lines.write(b"lost\n");
        while ledger.total(Place::ExportQueue) == 0 {
            thread::yield_now();
        }
    }
}
