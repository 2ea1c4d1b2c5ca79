//! The result of a CPU profile: folded stacks and a flame graph, sent to the agent in chunks.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use trilobite_worker_wire::{Message, SampleCounts, channel::send, protocol::CHUNK_BYTES};

use super::{flame_graph, fold, stacks::Stacks};
use crate::{
    confine::{self, Phase},
    kallsyms,
    symbolize::SampledFiles,
};

/// All that was sampled.
pub(super) struct Collected<'a> {
    pub(super) socket: BorrowedFd<'a>,
    pub(super) kallsyms: Option<OwnedFd>,
    pub(super) files: SampledFiles,
    pub(super) stacks: Stacks,
    pub(super) counts: SampleCounts,
    /// Bytes of folded text at most.
    pub(super) folded_max: usize,
}

impl Collected<'_> {
    /// Sends the folded stacks, first with the names of files alone, then with the names of functions, and the flame graph.
    pub(super) fn send_result(mut self, title: &str, lost: u64) -> io::Result<()> {
        let addresses = fold::kernel_addresses(self.stacks.frames());
        let kernel = match self.kallsyms.take() {
            Some(table) if !addresses.is_empty() => kallsyms::names(File::from(table), &addresses),
            _ => HashMap::new(),
        };
        // A hostile file can end this process while it is parsed. The agent then keeps this text, which needs no file.
        let files = std::mem::take(&mut self.files);
        let mut file_names = |file: u32, offsets: &[u64]| vec![files.fallback_name(file); offsets.len()];
        let folded = fold::fold(&self.stacks, &mut file_names, &kernel, self.folded_max);
        self.send_folded(&folded.text)?;
        drop(folded);
        let (mut symbolizers, dropped) = files.open_for_symbols();
        self.counts.files_dropped = dropped;
        confine::filter_system_calls(Phase::Parse)?;

        let mut send_error = None;
        let mut function_names = |file: u32, offsets: &[u64]| {
            if let Some(name) = symbolizers.name_if_read(file)
                && let Err(error) = self.send(&Message::ReadingFile(name.to_owned()))
            {
                send_error = Some(error);
            }
            symbolizers.function_names(file, offsets)
        };
        let folded = fold::fold(&self.stacks, &mut function_names, &kernel, self.folded_max);
        if let Some(error) = send_error {
            return Err(error);
        }
        drop((symbolizers, kernel));
        self.counts.truncated = self.counts.truncated.saturating_sub(folded.complete);
        let folded = folded.text;
        // Freed before the picture is drawn, which needs as much memory.
        self.stacks = Stacks::new(0);
        self.send_folded(&folded)?;
        let svg = if folded.is_empty() { Vec::new() } else { flame_graph::draw(&folded, title, &self.subtitle(lost))? };
        drop(folded);
        for chunk in svg.chunks(CHUNK_BYTES) {
            self.send(&Message::SvgChunk(chunk.to_vec()))?;
        }
        self.send(&Message::Done(self.counts))
    }

    fn send_folded(&self, folded: &str) -> io::Result<()> {
        for chunk in folded.as_bytes().chunks(CHUNK_BYTES) {
            self.send(&Message::FoldedChunk(chunk.to_vec()))?;
        }
        self.send(&Message::FoldedComplete(self.counts))
    }

    fn subtitle(&self, lost: u64) -> String {
        let SampleCounts { samples, truncated, unmapped, overflow, files_dropped, malformed, .. } = self.counts;
        let lost = lost + overflow + malformed;
        let share = if samples == 0 { 0.0 } else { truncated as f64 * 100.0 / samples as f64 };
        let mut text =
            format!("{samples} samples, {share:.1} % of the stacks truncated (no frame pointers, or too deep)");
        if lost > 0 {
            text += &format!(", {lost} lost");
        }
        if unmapped > 0 {
            text += &format!(", {unmapped} of processes whose code could not be looked up");
        }
        if files_dropped > 0 {
            text += &format!(", {files_dropped} files without symbols");
        }
        text
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        send(self.socket, &message.encode().map_err(io::Error::other)?, &[], true)
    }
}
