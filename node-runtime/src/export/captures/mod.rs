//! Flows of FlowCaptures as JSON lines, on standard output or in a rotated file for each capture. Subscribes to the network
//! layer; each output has a thread of its own.

mod retention;
mod writer;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::{AbortHandle, yield_now},
    time::timeout,
};
use trilobite_crds::node::{FileExport, FlowOutput};

use self::{retention::Retention, writer::CaptureWriter};
use super::{
    rotated_file::{RotatedFile, RotationLimits},
    stdout::Stdout,
};
use crate::{layers::network::CaptureEvent, loss::Ledger};

/// Size at which a capture's file is closed, and number of closed files that are kept.
const FILE: FileExport = FileExport { max_size_mb: 10, max_backups: 5 };

/// How long the agent's shutdown waits for outputs that do not accept any more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts no new output once it is dropped; open ones write what is queued.
pub struct CaptureExport {
    task: AbortHandle,
    /// Ends when all writers have ended.
    writers: mpsc::Receiver<()>,
}

impl CaptureExport {
    /// Writes the captures of a subscription; `node` is the node's name in each line.
    pub fn start(mut events: UnboundedReceiver<CaptureEvent>, node: String, state_dir: &Path, ledger: Ledger) -> Self {
        let folder = captures_folder(state_dir);
        let (running, writers) = mpsc::channel(1);
        let writer = CaptureWriter { node: node.into(), ledger: ledger.clone(), _running: running };
        let mut retention = Retention::new(&folder, ledger);
        let task = async move {
            while let Some(event) = events.recv().await {
                match event {
                    CaptureEvent::Opened(stream) => match stream.output {
                        FlowOutput::Stdout => writer.start(stream, || Ok(Stdout)),
                        FlowOutput::File => {
                            let folder = folder.join(folder_name(&stream.name));
                            writer.start(stream, move || RotatedFile::open(&folder, RotationLimits::new(&FILE)));
                        }
                    },
                    CaptureEvent::Active(names) => {
                        retention.set_active(names.iter().map(|name| folder_name(name)).collect());
                    }
                }
            }
        };
        Self { task: tokio::spawn(task).abort_handle(), writers }
    }

    /// Waits until the flows of finished captures are written, two seconds at most. No capture must be active.
    pub async fn finish(&mut self) {
        // The end of the captures is noted first.
        yield_now().await;
        self.task.abort();
        if timeout(SHUTDOWN_TIMEOUT, self.writers.recv()).await.is_err() {
            tracing::warn!("an output of a capture accepts no more flows; what was queued for it is lost");
        }
    }
}

impl Drop for CaptureExport {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn captures_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("captures")
}

/// The folder of a capture, `namespace/name`.
fn folder_name(capture: &str) -> String {
    capture.replace('/', ".")
}
