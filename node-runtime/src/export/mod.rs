//! Events as JSON lines on standard output and in a rotated file, as far as the stack asks for it. Each way out has a
//! queue and a thread of its own: one that is stuck holds back neither the agent nor the other.

pub mod lines;
mod rotated;
mod running;
mod stdout;
mod writer;

use std::{path::PathBuf, time::Duration};

use trilobite_crds::node::ExportPlan;

use crate::{
    layers::security::bus::EventBus,
    report::{Ledger, Problem},
    serve::tetragon::Scene,
};

use rotated::{Limits, Rotated};
use running::Running;
use stdout::Stdout;
use writer::Sink;

/// How long the end of the agent waits for a way out that takes nothing more.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is written where.
pub struct Export {
    bus: EventBus,
    scene: Scene,
    ledger: Ledger,
    state_dir: PathBuf,
    stdout: Option<Running>,
    file: Option<(Running, Limits)>,
}

impl Export {
    /// Nothing is written yet. The file will be `events.log` in `state_dir`.
    pub fn new(bus: EventBus, scene: Scene, ledger: Ledger, state_dir: PathBuf) -> Self {
        Self { bus, scene, ledger, state_dir, stdout: None, file: None }
    }

    /// Brings what is written in line with what is wanted. A way out that stays wanted loses nothing; one that is no
    /// longer wanted still writes what is queued for it.
    pub fn apply(&mut self, plan: &ExportPlan) {
        match (plan.stdout, &self.stdout) {
            (true, None) => self.stdout = Some(self.start("standard output", || Ok(Stdout))),
            (false, Some(_)) => self.stdout = None,
            _ => {}
        }
        match (&plan.file, &self.file) {
            (Some(wanted), Some((_, limits))) => limits.set(wanted),
            (Some(wanted), None) => {
                let limits = Limits::new(wanted);
                let (folder, of) = (self.state_dir.clone(), limits.clone());
                let path = rotated::path(&folder);
                self.file =
                    Some((self.start(&path.to_string_lossy(), move || Rotated::open(&folder, of.clone())), limits));
            }
            (None, Some(_)) => self.file = None,
            (None, None) => {}
        }
    }

    /// What is wrong now: a write that failed and was not followed by one that did not.
    pub fn problems(&self) -> Vec<Problem> {
        let running = self.stdout.iter().chain(self.file.iter().map(|(running, _)| running));
        running.filter_map(Running::problem).collect()
    }

    /// Writes what is queued, and no more; gives up on what cannot be written within two seconds.
    pub async fn finish(&mut self) {
        let file = self.file.take().map(|(running, _)| running);
        let running = self.stdout.take().into_iter().chain(file);
        for running in running {
            if tokio::time::timeout(PATIENCE, running.finish()).await.is_err() {
                tracing::warn!("an export takes nothing more; what was queued for it is lost");
            }
        }
    }

    fn start<S: Sink>(&self, name: &str, open: impl Fn() -> std::io::Result<S> + Send + 'static) -> Running {
        Running::start(name, &self.bus, self.scene.clone(), self.ledger.clone(), open)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trilobite_crds::node::FileExport;

    use super::*;
    use crate::serve::tetragon::samples;

    #[tokio::test]
    async fn all_that_was_published_is_in_the_file_when_the_agent_has_ended() {
        let folder = std::env::temp_dir().join(format!("trilobite-export-all-{}", std::process::id()));
        let (ledger, plan) = (Ledger::default(), |max_backups| ExportPlan {
            stdout: false,
            file: Some(FileExport { max_size_mb: 1, max_backups }),
        });
        let bus = EventBus::new(ledger.clone());
        let mut export = Export::new(bus.clone(), samples::scene(), ledger.clone(), folder.clone());
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
    fn with_nothing_wanted_nobody_reads_the_bus() {
        let bus = EventBus::new(Ledger::default());
        let mut export = Export::new(bus.clone(), samples::scene(), Ledger::default(), std::env::temp_dir());
        export.apply(&ExportPlan { stdout: true, file: None });
        assert!(bus.is_read());
        export.apply(&ExportPlan::default());
        assert!(!bus.is_read());
    }
}
