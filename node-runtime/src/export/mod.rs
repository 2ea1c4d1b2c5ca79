//! Exports events as JSON lines to standard output and to a rotated file, as the stack configures it. In a pod standard output
//! is that of a container of its own, to which the lines go through a FIFO. Each export has its own queue and thread: one that
//! is stuck blocks neither the agent nor the other.

pub mod captures;
mod event_writer;
mod fifo;
pub mod line_queue;
mod rotated_file;
mod shorten;
mod sink;
mod stdout;
mod writer_thread;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use trilobite_crds::node::ExportPlan;

use crate::{layers::security::event_bus::EventBus, loss::Ledger, problem::Problem, serve::tetragon::EventEncoder};

use fifo::Fifo;
use rotated_file::{RotatedFile, RotationLimits};
use sink::Sink;
use stdout::Stdout;
use writer_thread::WriterThread;

/// Limit for writing queued events when the agent ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

pub struct EventExport {
    bus: EventBus,
    encoder: EventEncoder,
    ledger: Ledger,
    state_dir: PathBuf,
    /// The way to the container whose standard output is meant; none for the agent's own.
    stdout_fifo: Option<PathBuf>,
    stdout: Option<WriterThread>,
    file: Option<(WriterThread, RotationLimits)>,
}

impl EventExport {
    /// Exports nothing yet. The file will be `events.log` in `state_dir`.
    pub fn new(bus: EventBus, encoder: EventEncoder, ledger: Ledger, state_dir: PathBuf) -> Self {
        Self { bus, encoder, ledger, state_dir, stdout_fifo: None, stdout: None, file: None }
    }

    /// From the next start on, lines for standard output go through this FIFO.
    pub fn set_stdout_fifo(&mut self, path: PathBuf) {
        self.stdout_fifo = Some(path);
    }

    /// Leaves nothing of the way to the container behind; exports must have ended.
    pub fn remove_fifo(&self) {
        self.stdout_fifo.as_deref().into_iter().for_each(fifo::remove);
    }

    /// Removes the FIFO of an agent whose stack wanted events on standard output.
    pub fn remove_stale_fifo(path: &Path) {
        fifo::remove(path);
    }

    /// Starts and ends exports. An export that stays loses nothing; one that ends still writes its queued events.
    pub fn apply(&mut self, plan: &ExportPlan) {
        match (plan.stdout, &self.stdout) {
            (true, None) => {
                self.stdout = Some(match self.stdout_fifo.clone() {
                    Some(path) => self.start("the container export-stdout", true, move || Fifo::open(&path)),
                    None => self.start("standard output", true, || Ok(Stdout)),
                });
            }
            (false, Some(_)) => self.stdout = None,
            _ => {}
        }
        match (&plan.file, &self.file) {
            (Some(wanted), Some((_, limits))) => limits.set(wanted),
            (Some(wanted), None) => {
                let limits = RotationLimits::new(wanted);
                let (folder, shared) = (self.state_dir.clone(), limits.clone());
                let path = rotated_file::path(&folder);
                self.file = Some((
                    self.start(&path.to_string_lossy(), false, move || RotatedFile::open(&folder, shared.clone())),
                    limits,
                ));
            }
            (None, Some(_)) => self.file = None,
            (None, None) => {}
        }
    }

    /// Exports whose last write failed.
    pub fn problems(&self) -> Vec<Problem> {
        let thread = self.stdout.iter().chain(self.file.iter().map(|(thread, _)| thread));
        thread.filter_map(WriterThread::problem).collect()
    }

    /// Writes queued events, for two seconds at most.
    pub async fn finish(&mut self) {
        let file = self.file.take().map(|(thread, _)| thread);
        let thread = self.stdout.take().into_iter().chain(file);
        for thread in thread {
            if tokio::time::timeout(SHUTDOWN_TIMEOUT, thread.finish()).await.is_err() {
                tracing::warn!("an export is stuck; its queued events are lost");
            }
        }
    }

    fn start<S: Sink>(
        &self,
        name: &str,
        has_short_lines: bool,
        open: impl Fn() -> std::io::Result<S> + Send + 'static,
    ) -> WriterThread {
        let (encoder, ledger) = (self.encoder.clone(), self.ledger.clone());
        WriterThread::start(name, &self.bus, encoder, ledger, has_short_lines, open)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use trilobite_crds::node::FileExport;

    use super::*;
    use crate::{
        loss::{LossPoint, gap::Gap},
        serve::tetragon::{samples, tetra_client_tests::printed_from_stdin},
    };

    #[tokio::test]
    async fn all_published_events_are_in_the_file_after_finish() {
        let folder = std::env::temp_dir().join(format!("trilobite-export-all-{}", std::process::id()));
        let (ledger, plan) = (Ledger::default(), |max_backups| ExportPlan {
            stdout: false,
            file: Some(FileExport { max_size_mb: 1, max_backups }),
        });
        let bus = EventBus::new(ledger.clone());
        let mut export = EventExport::new(bus.clone(), samples::encoder(), ledger.clone(), folder.clone());
        export.apply(&plan(1));
        for round in 0..300 {
            bus.publish(Arc::new(samples::exec()));
            if round == 150 {
                export.apply(&plan(2));
            }
        }
        export.finish().await;

        let written = std::fs::read_to_string(folder.join("events.log")).unwrap();
        assert_eq!((written.lines().count(), ledger.losses()), (300, Vec::new()));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn bus_has_no_readers_without_exports() {
        let bus = EventBus::new(Ledger::default());
        let mut export = EventExport::new(bus.clone(), samples::encoder(), Ledger::default(), std::env::temp_dir());
        export.apply(&ExportPlan { stdout: true, file: None });
        assert!(bus.has_readers());
        export.apply(&ExportPlan::default());
        assert!(!bus.has_readers());
    }

    #[tokio::test]
    async fn stdout_of_a_pod_goes_through_the_fifo() {
        let folder = tempfile::tempdir().unwrap();
        let (path, bus) = (folder.path().join("export/events"), EventBus::new(Ledger::default()));
        let mut export = EventExport::new(bus.clone(), samples::encoder(), Ledger::default(), folder.path().to_owned());
        export.set_stdout_fifo(path.clone());
        export.apply(&ExportPlan { stdout: true, file: None });
        bus.publish(Arc::new(samples::exec()));
        while !path.exists() {
            std::thread::yield_now();
        }
        let mut container = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (mut lines, mut printed) = (trilobite_export_stdout::LineBuffer::default(), Vec::new());
        while printed.is_empty() {
            lines.copy_lines(&mut container, &mut printed).unwrap();
        }
        assert!(printed.starts_with(br#"{"process_exec":"#) && printed.ends_with(b"}\n"));
        export.finish().await;
        export.remove_fifo();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something else was written");
    }

    #[tokio::test]
    async fn tetra_prints_exported_gaps_and_losses() {
        let folder = tempfile::tempdir().unwrap();
        let bus = EventBus::new(Ledger::default());
        let mut export = EventExport::new(bus.clone(), samples::encoder(), Ledger::default(), folder.path().to_owned());
        export.apply(&ExportPlan { stdout: false, file: Some(FileExport { max_size_mb: 1, max_backups: 1 }) });
        let at = |second| Timestamp::from_second(second).unwrap();
        bus.publish_gap(Gap { from: at(10), to: at(15), reason: "the agent was not running" });
        bus.publish_loss(LossPoint::PolicyRing, 7);
        bus.publish(Arc::new(samples::exec()));
        export.finish().await;
        let lines = std::fs::read_to_string(folder.path().join("events.log")).unwrap();
        let Some(printed) = printed_from_stdin(&lines, &["-o", "compact", "--color", "never"]) else { return };
        let [gap, lost, exec] = printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
        assert!(gap.contains("no events from 1970-01-01T00:00:10Z"), "{gap}");
        assert!(lost.contains("7 events lost: "), "{lost}");
        assert!(exec.contains("/usr/bin/curl"), "{exec}");
    }
}
