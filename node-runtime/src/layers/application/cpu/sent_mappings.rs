//! Sends the mappings of processes to a worker, and the files that it has not been sent before.

use std::sync::Arc;

use trilobite_worker_wire::{Mapping, Message, MessageError, NewFile, ProcessImage, channel::FDS_MAX};

use crate::layers::{
    application::process_inspector::{InspectedProcess, SentFiles},
    worker::WorkerProcess,
};

/// Mappings in one message.
const MAPPINGS_PER_MESSAGE: usize = 64;

/// The files that one worker has been sent.
#[derive(Default)]
pub(super) struct SentMappings {
    files: SentFiles,
}

impl SentMappings {
    pub(super) fn files(&self) -> SentFiles {
        self.files.clone()
    }

    /// Sends the mappings of a process. If one process cannot be encoded, it alone has no function names.
    pub(super) fn send(
        &mut self,
        worker: &mut WorkerProcess,
        image: ProcessImage,
        process: InspectedProcess,
    ) -> Result<(), MessageError> {
        if let Err(error) = self.send_all(worker, image, process) {
            tracing::warn!(pid = image.pid, %error, "the mappings of a process could not be sent to the worker");
            return send_unknown_process(worker, image);
        }
        Ok(())
    }

    fn send_all(
        &mut self,
        worker: &mut WorkerProcess,
        image: ProcessImage,
        mut process: InspectedProcess,
    ) -> Result<(), MessageError> {
        let (mut files, mut fds, mut mappings) = (Vec::new(), Vec::new(), Vec::new());
        for mapping in process.mappings {
            let sent = self.files.get(&mapping.file).copied();
            let file = sent.unwrap_or(self.files.len() as u32);
            if sent.is_none() {
                let opened = process.opened.remove(&mapping.file);
                let (name, kind) = (mapping.file_name(), mapping.file.kind());
                files.push(NewFile { id: file, name, opened: opened.is_some(), kind });
                fds.extend(opened);
                Arc::make_mut(&mut self.files).insert(mapping.file, file);
            }
            mappings.push(Mapping { start: mapping.start, end: mapping.end, offset: mapping.offset, file });
            if fds.len() == FDS_MAX || mappings.len() == MAPPINGS_PER_MESSAGE {
                let (files, mappings) = (std::mem::take(&mut files), std::mem::take(&mut mappings));
                let message = Message::ProcessMappings { image, files, mappings, complete: false, dropped: 0 };
                worker.send(&message, std::mem::take(&mut fds))?;
            }
        }
        worker.send(&Message::ProcessMappings { image, files, mappings, complete: true, dropped: process.dropped }, fds)
    }
}

/// Answers that nothing is known about a process.
pub(super) fn send_unknown_process(worker: &mut WorkerProcess, image: ProcessImage) -> Result<(), MessageError> {
    let message =
        Message::ProcessMappings { image, files: Vec::new(), mappings: Vec::new(), complete: true, dropped: 0 };
    worker.send(&message, Vec::new())
}
