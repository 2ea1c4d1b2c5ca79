//! The result of a CPU profile: folded stacks and a flame graph, sent to the agent in chunks.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use trilobite_flame_graph::{ProfileSummary, ProfileTitle};
use trilobite_worker_wire::{Message, SampleCounts, channel::send, protocol::CHUNK_BYTES};

use super::{fold, frame_names::KnownNames, stacks::Stacks};
use crate::{
    confine::{self, Phase},
    kallsyms,
    symbolize::{CodePlace, NamedPlace, SampledFiles},
};

/// All that was sampled.
pub(super) struct Collected<'a> {
    pub(super) socket: BorrowedFd<'a>,
    pub(super) kallsyms: Option<OwnedFd>,
    pub(super) files: SampledFiles,
    /// Names of cgroups.
    pub(super) cgroup_names: HashMap<u64, String>,
    pub(super) stacks: Stacks,
    pub(super) counts: SampleCounts,
    /// Bytes of folded text at most.
    pub(super) folded_max: usize,
}

/// What was sampled, where and for how long, as the agent says.
pub(super) struct SampledTarget {
    pub(super) target: String,
    pub(super) node: String,
    pub(super) frequency_hz: u32,
    pub(super) sampled_ms: u64,
    pub(super) cpu_limit_millis: Option<u64>,
}

impl Collected<'_> {
    /// Sends the folded stacks, first with the names of files alone, then with the names of functions, and the flame graph.
    pub(super) fn send_result(mut self, target: &SampledTarget, lost: u64) -> io::Result<()> {
        let addresses = fold::kernel_addresses(self.stacks.frames());
        let kernel = match self.kallsyms.take() {
            Some(table) if !addresses.is_empty() => kallsyms::names(File::from(table), &addresses),
            _ => HashMap::new(),
        };
        let known = KnownNames { kernel, cgroups: std::mem::take(&mut self.cgroup_names) };
        // A hostile file can end this process while it is parsed. The agent then keeps this text, which needs no file.
        let files = std::mem::take(&mut self.files);
        let mut file_names = |file: u32, places: &[CodePlace]| {
            vec![NamedPlace::without_caller_information(files.fallback_name(file)); places.len()]
        };
        let folded = fold::fold(&self.stacks, &mut file_names, &known, self.folded_max);
        self.send_folded(&folded.text)?;
        drop(folded);
        let (mut symbolizers, dropped) = files.open_for_symbols();
        self.counts.files_dropped = dropped;
        confine::filter_system_calls(Phase::Parse)?;

        let mut send_error = None;
        let mut function_names = |file: u32, places: &[CodePlace]| {
            if let Some(name) = symbolizers.name_if_read(file)
                && let Err(error) = self.send(&Message::ReadingFile(name.to_owned()))
            {
                send_error = Some(error);
            }
            symbolizers.name_places(file, places)
        };
        let folded = fold::fold(&self.stacks, &mut function_names, &known, self.folded_max);
        if let Some(error) = send_error {
            return Err(error);
        }
        drop((symbolizers, known));
        self.counts.truncated = self.counts.truncated.saturating_sub(folded.complete);
        self.counts.caller_missing = folded.caller_missing;
        let folded = folded.text;
        // Freed before the picture is drawn, which needs as much memory.
        self.stacks = Stacks::new(0);
        self.send_folded(&folded)?;
        let svg = if folded.is_empty() {
            Vec::new()
        } else {
            let (title, summary) = (self.title(target, lost), self.summary(lost));
            trilobite_flame_graph::draw(&folded, &title.to_string(), &summary.to_string())?
        };
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

    /// Samples that are not in the picture: lost in the kernel, and by this process.
    fn all_lost(&self, lost: u64) -> u64 {
        lost + self.counts.overflow + self.counts.malformed
    }

    fn title(&self, target: &SampledTarget, lost: u64) -> ProfileTitle {
        let SampledTarget { target, node, frequency_hz, sampled_ms, cpu_limit_millis } = target;
        ProfileTitle {
            target: target.clone(),
            nodes: vec![node.clone()],
            cpu_limit_millis: *cpu_limit_millis,
            samples: self.counts.samples,
            lost: self.all_lost(lost),
            frequency_hz: *frequency_hz,
            sampled_ms: *sampled_ms,
        }
    }

    fn summary(&self, lost: u64) -> ProfileSummary {
        let counts = &self.counts;
        ProfileSummary {
            samples: counts.samples,
            truncated: counts.truncated,
            caller_missing: counts.caller_missing,
            lost: self.all_lost(lost),
            undecided: counts.undecided,
            unmapped: counts.unmapped,
            remapped: counts.remapped,
            files_dropped: counts.files_dropped,
            mappings_dropped: counts.mappings_dropped,
        }
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        send(self.socket, &message.encode().map_err(io::Error::other)?, &[], true)
    }
}
