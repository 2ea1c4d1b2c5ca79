//! A recording played by a worker, as the bytes in it are not to be trusted.

use std::{fs::File, os::fd::OwnedFd};

use trilobite_worker_wire::{Message, RecordingHeader, Replayed, RequestRow};

use crate::layers::worker::{WorkerProcess, WorkerProgram};

/// Memory of the worker.
const MEMORY_BYTES: u64 = 64 << 20;

/// What comes of a recording, before its end.
pub enum ReplayItem {
    /// Comes first.
    Header(Box<RecordingHeader>),
    Row(Box<RequestRow>),
    /// So many rows were not sent: they did not fit into the worker's memory.
    Lost(u64),
}

/// Plays a recording. Returns what it says of itself, or why it is none.
pub async fn replay(
    program: &WorkerProgram,
    recording: File,
    mut each: impl FnMut(ReplayItem) -> anyhow::Result<()>,
) -> anyhow::Result<Replayed> {
    let job = Message::Replay { memory_bytes: MEMORY_BYTES };
    let mut worker = WorkerProcess::start(program, &job, vec![OwnedFd::from(recording)])?;
    loop {
        match worker.receive().await {
            Ok(Message::ReplayStarted(header)) => each(ReplayItem::Header(header))?,
            Ok(Message::RowsChunk { rows, .. }) => {
                rows.into_iter().try_for_each(|row| each(ReplayItem::Row(Box::new(row))))?;
            }
            Ok(Message::RowsComplete { evicted: 0, .. }) => {}
            Ok(Message::RowsComplete { evicted, .. }) => each(ReplayItem::Lost(evicted))?,
            Ok(Message::Replayed(replayed)) => return Ok(*replayed),
            Ok(Message::Failed(problem)) => anyhow::bail!(problem),
            Ok(_) => anyhow::bail!("the worker process sent a message that is not for it to send"),
            Err(gone) => anyhow::bail!("the worker process: {gone} ({})", worker.kill()),
        }
    }
}
