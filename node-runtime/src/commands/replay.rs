//! `trilobite-node replay`: the rows of a recording, without a kernel program and without privilege.

use std::{
    fs::File,
    io::{Write, stdout},
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use trilobite_api::json;
use trilobite_worker_wire::{CallCount, Recorded, RecordingHeader, Replayed, RequestRow};

use crate::{
    args::ReplayArguments,
    layers::{
        application::{
            RowSource,
            requests::replay::{ReplayItem, replay},
        },
        worker::{WorkerProgram, program},
    },
    serve::requests::request_of_recording,
};

/// Whose rows they are.
#[derive(Default)]
struct Origin {
    source: RowSource,
    node: String,
    boot: Timestamp,
}

/// Prints a line of JSON for each row. What the recording lacks goes to standard error, and so does where it is broken.
pub(super) async fn print_requests(arguments: &ReplayArguments) -> anyhow::Result<()> {
    let path = arguments.file.display();
    let file = File::open(&arguments.file).with_context(|| path.to_string())?;
    let worker = arguments.worker.clone().unwrap_or_else(program::default_path);
    let program = WorkerProgram::open(&worker).with_context(|| worker.display().to_string())?;
    let mut origin = Origin::default();
    let replayed = replay(&program, file, |item| {
        match item {
            ReplayItem::Header(header) => origin = Origin::new(*header),
            ReplayItem::Row(row) => writeln!(stdout(), "{}", origin.line(*row))?,
            ReplayItem::Lost(rows) => {
                tracing::warn!("{rows} rows are missing: the worker process had no memory for them")
            }
        }
        Ok(())
    })
    .await
    .with_context(|| path.to_string())?;
    report(&replayed);
    match replayed.problem {
        Some(problem) => bail!("{path}: {problem}"),
        None => Ok(()),
    }
}

fn report(replayed: &Replayed) {
    let counts = &replayed.counts;
    let rows: u64 = counts.rows.values().sum();
    let (connections, gaps, lost) = (counts.connections, counts.gaps, counts.lost_parse);
    tracing::info!("{rows} rows of {connections} connections; {gaps} gaps, {lost} messages without a row");
    let Some(Recorded { recorded, left_out }) = &replayed.recorded else { return };
    tracing::info!("the recording has {}", calls(*recorded));
    for (reason, count) in left_out {
        tracing::info!("it lacks {}: {reason}", calls(*count));
    }
}

fn calls(count: CallCount) -> String {
    format!("{} calls of {} bytes", count.calls, count.bytes)
}

impl Origin {
    fn new(header: RecordingHeader) -> Self {
        let name = header.recording.profile;
        let namespace = name.split_once('/').map(|(namespace, _)| namespace.to_owned()).unwrap_or_default();
        Self {
            source: RowSource { name, namespace },
            node: header.recording.node,
            boot: Timestamp::from_nanosecond(header.boot_time_ns.into()).unwrap_or_default(),
        }
    }

    fn line(&self, row: RequestRow) -> String {
        json::to_string(&request_of_recording(row, &self.source, self.boot, self.node.clone()))
    }
}
