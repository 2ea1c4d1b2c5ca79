//! Exports events as JSON lines to standard output and to a rotated file, as the stack configures it. In a pod standard output
//! is that of a container of its own, to which the lines go through a FIFO. Each export has its own queue and thread: one that
//! is stuck blocks neither the agent nor the other.

pub mod captures;
mod counts;
mod event_writer;
mod fifo;
pub mod line_queue;
#[cfg(test)]
mod pipelines_tests;
mod rotated_file;
mod selection;
mod shorten;
mod sink;
mod stdout;
mod writer_thread;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use trilobite_crds::{node::ExportPlan, stack::EventSelection};

use crate::{
    kernel::node_path::on_node, layers::security::event_bus::EventBus, loss::Ledger, problem::Problem,
    serve::tetragon::EventEncoder,
};

pub use counts::ExportCounts;

use fifo::Fifo;
use rotated_file::{RotatedFile, RotationLimits};
use selection::CompiledSelection;
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
    /// With what it selects.
    stdout: Option<(WriterThread, EventSelection)>,
    file: Option<FileWriter>,
    refused: Vec<Problem>,
    counts: ExportCounts,
}

struct FileWriter {
    thread: WriterThread,
    limits: RotationLimits,
    selection: EventSelection,
}

impl EventExport {
    /// Exports nothing yet. The file will be `events.log` in `state_dir`.
    pub fn new(bus: EventBus, encoder: EventEncoder, ledger: Ledger, state_dir: PathBuf) -> Self {
        Self {
            bus,
            encoder,
            ledger,
            state_dir,
            stdout_fifo: None,
            stdout: None,
            file: None,
            refused: Vec::new(),
            counts: ExportCounts::default(),
        }
    }

    /// Counts of all exports.
    pub fn counts(&self) -> ExportCounts {
        self.counts.clone()
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

    /// Starts and ends exports, and changes what they write. An export that stays loses nothing; one that ends still writes
    /// its queued events. One whose new selection is refused goes on with the last one.
    pub fn apply(&mut self, plan: &ExportPlan) {
        self.refused.clear();
        self.apply_stdout(plan);
        self.apply_file(plan);
    }

    fn apply_stdout(&mut self, plan: &ExportPlan) {
        if !plan.stdout {
            self.stdout = None;
            return;
        }
        if self.stdout.as_ref().is_some_and(|(_, active)| *active == plan.stdout_events) {
            return;
        }
        let Some(selection) = self.compile(&plan.stdout_events, "spec.export.stdout") else { return };
        match &self.stdout {
            Some((thread, _)) => thread.set_selection(selection),
            None => {
                let thread = match self.stdout_fifo.clone() {
                    Some(path) => self.start("the container export-stdout", true, selection, move || Fifo::open(&path)),
                    None => self.start("standard output", true, selection, || Ok(Stdout)),
                };
                self.stdout = Some((thread, EventSelection::default()));
            }
        }
        if let Some((_, active)) = &mut self.stdout {
            active.clone_from(&plan.stdout_events);
        }
    }

    fn apply_file(&mut self, plan: &ExportPlan) {
        let Some(wanted) = &plan.file else {
            self.file = None;
            return;
        };
        if let Some(file) = &self.file {
            file.limits.set(wanted);
            if file.selection == plan.file_events {
                return;
            }
        }
        let Some(selection) = self.compile(&plan.file_events, "spec.export.file") else { return };
        match &mut self.file {
            Some(file) => {
                file.thread.set_selection(selection);
                file.selection.clone_from(&plan.file_events);
            }
            None => {
                let limits = RotationLimits::new(wanted);
                let (folder, shared) = (self.state_dir.clone(), limits.clone());
                let name = on_node(&rotated_file::path(&folder)).to_string_lossy().into_owned();
                let open = move || RotatedFile::open(&folder, shared.clone());
                let thread = self.start(&name, false, selection, open);
                self.file = Some(FileWriter { thread, limits, selection: plan.file_events.clone() });
            }
        }
    }

    /// None for one that is refused, which is a problem of the node.
    fn compile(&mut self, selection: &EventSelection, field: &str) -> Option<CompiledSelection> {
        match CompiledSelection::new(selection, field, &self.encoder) {
            Ok(compiled) => Some(compiled),
            Err(problem) => {
                self.refused.push(problem);
                None
            }
        }
    }

    /// Exports whose last write failed, and selections that are refused.
    pub fn problems(&self) -> Vec<Problem> {
        let stdout = self.stdout.iter().map(|(thread, _)| thread);
        let threads = stdout.chain(self.file.iter().map(|file| &file.thread));
        threads.filter_map(WriterThread::problem).chain(self.refused.iter().cloned()).collect()
    }

    /// Writes queued events, for two seconds at most.
    pub async fn finish(&mut self) {
        let file = self.file.take().map(|file| file.thread);
        let stdout = self.stdout.take().map(|(thread, _)| thread);
        for thread in stdout.into_iter().chain(file) {
            if tokio::time::timeout(SHUTDOWN_TIMEOUT, thread.finish()).await.is_err() {
                tracing::warn!("an export is stuck; its queued events are lost");
            }
        }
    }

    fn start<S: Sink>(
        &self,
        name: &str,
        has_short_lines: bool,
        selection: CompiledSelection,
        open: impl Fn() -> std::io::Result<S> + Send + 'static,
    ) -> WriterThread {
        let (encoder, ledger) = (self.encoder.clone(), self.ledger.clone());
        let counts = self.counts.clone();
        WriterThread::start(name, &self.bus, encoder, ledger, has_short_lines, (selection, counts), open)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use trilobite_crds::{node::FileExport, stack::EventFilter};

    use super::*;
    use crate::{
        loss::{LossPoint, gap::Gap},
        serve::tetragon::{samples, tetra_client_tests::printed_from_stdin},
    };

    #[tokio::test]
    async fn all_published_events_are_in_the_file_after_finish() {
        let folder = std::env::temp_dir().join(format!("trilobite-export-all-{}", std::process::id()));
        let (ledger, plan) = (Ledger::default(), |max_backups| ExportPlan {
            file: Some(FileExport { max_size_mb: 1, max_backups }),
            ..ExportPlan::default()
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
        export.apply(&ExportPlan { stdout: true, ..ExportPlan::default() });
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
        export.apply(&ExportPlan { stdout: true, ..ExportPlan::default() });
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
    async fn refused_selection_leaves_the_last_one_active() {
        let folder = tempfile::tempdir().unwrap();
        let bus = EventBus::new(Ledger::default());
        let mut export = EventExport::new(bus.clone(), samples::encoder(), Ledger::default(), folder.path().to_owned());
        let plan = |pattern: &str| ExportPlan {
            file: Some(FileExport { max_size_mb: 1, max_backups: 1 }),
            file_events: EventSelection {
                allow_list: vec![EventFilter { binary_regex: vec![pattern.into()], ..EventFilter::default() }],
                ..EventSelection::default()
            },
            ..ExportPlan::default()
        };
        for (pattern, problems) in [("(", 1), ("curl$", 0), ("(", 1)] {
            export.apply(&plan(pattern));
            assert_eq!(export.problems().len(), problems, "{pattern}");
        }
        assert_eq!(export.problems()[0].field(), "spec.export.file.allowList[0].binary_regex[0]");
        bus.publish(Arc::new(samples::exec()));
        bus.publish(Arc::new(samples::exec_on_the_host()));
        export.apply(&plan("sshd$"));
        bus.publish(Arc::new(samples::exec_on_the_host()));
        export.finish().await;
        let lines = std::fs::read_to_string(folder.path().join("events.log")).unwrap();
        let binaries: Vec<bool> = lines.lines().map(|line| line.contains("/usr/bin/curl")).collect();
        assert_eq!(binaries, [true, false], "{lines}");
    }

    #[tokio::test]
    async fn tetra_prints_exported_gaps_and_losses() {
        let folder = tempfile::tempdir().unwrap();
        let bus = EventBus::new(Ledger::default());
        let mut export = EventExport::new(bus.clone(), samples::encoder(), Ledger::default(), folder.path().to_owned());
        export
            .apply(&ExportPlan { file: Some(FileExport { max_size_mb: 1, max_backups: 1 }), ..ExportPlan::default() });
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
