//! Asks a worker about one file of a pod. The worker is started for that file, and ends with its answer: the agent itself never
//! reads what a pod may have written.

use std::{io, os::fd::OwnedFd, time::Duration};

use tokio::time::timeout;
use trilobite_worker_wire::{Inspection, Message};

use crate::layers::worker::{WorkerProcess, WorkerProgram};

/// How long a file may take: the largest programs take less than a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is in the file. An error if the worker did not answer: the file made it fail.
pub(super) async fn inspect(program: &WorkerProgram, file: OwnedFd) -> io::Result<Inspection> {
    let mut worker = WorkerProcess::start(program, &Message::Inspect, vec![file])?;
    match timeout(TIMEOUT, worker.receive()).await {
        Ok(Ok(Message::Inspected(inspection))) => Ok(inspection),
        Ok(Ok(Message::Failed(error))) => Err(io::Error::other(error)),
        Ok(Ok(_)) => Err(io::Error::other("another message than an inspection")),
        Ok(Err(gone)) => Err(io::Error::other(format!("{gone}: {}", worker.kill()))),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
