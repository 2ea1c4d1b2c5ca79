//! Reads a recording, which may have any bytes: a frame at a time, and the first error with its place ends it.

use std::io::Read;

use serde::de::DeserializeOwned;
use trilobite_node_ebpf::RECORD_LAYOUT;
use trilobite_worker_wire::{Recorded, RecordingHeader};

use super::format::{BODY_MAX, FRAME_HEADER, FrameKind, MAGIC};

/// Where a recording is broken, and why.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub(super) struct BrokenRecording {
    offset: u64,
    problem: String,
}

/// What comes next in a recording.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A record of the ring.
    Call(&'a [u8]),
    End(Recorded),
}

pub(super) struct RecordingReader<R> {
    source: R,
    /// Of the next byte that is read.
    offset: u64,
    body: Vec<u8>,
}

impl<R: Read> RecordingReader<R> {
    /// Reads the header.
    pub(super) fn open(source: R) -> Result<(Self, RecordingHeader), BrokenRecording> {
        let mut reader = Self { source, offset: 0, body: Vec::new() };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(BrokenRecording { offset: 0, problem: "this is no recording of requests of version 1".into() });
        }
        let start = reader.offset;
        if reader.read_frame()? != FrameKind::Header {
            return Err(BrokenRecording { offset: start, problem: "the header is missing".into() });
        }
        let header: RecordingHeader = reader.parse(start)?;
        if header.record_layout != RECORD_LAYOUT {
            let problem = format!(
                "records of layout {}, and this version has {RECORD_LAYOUT}: use the version that recorded it",
                header.record_layout
            );
            return Err(BrokenRecording { offset: start, problem });
        }
        Ok((reader, header))
    }

    /// The next call; after the end nothing is read.
    pub(super) fn next(&mut self) -> Result<Next<'_>, BrokenRecording> {
        let start = self.offset;
        match self.read_frame()? {
            FrameKind::Call => Ok(Next::Call(&self.body)),
            FrameKind::End => Ok(Next::End(self.parse(start)?)),
            FrameKind::Header => Err(BrokenRecording { offset: start, problem: "a second header".into() }),
        }
    }

    /// The error of a call that is none.
    pub(super) fn broken_call(&self) -> BrokenRecording {
        let offset = self.offset.saturating_sub((FRAME_HEADER + self.body.len()) as u64);
        BrokenRecording { offset, problem: "this is no call".into() }
    }

    fn read_frame(&mut self) -> Result<FrameKind, BrokenRecording> {
        let start = self.offset;
        let mut header = [0; FRAME_HEADER];
        self.fill(&mut header)?;
        let [kind, length @ ..] = header;
        let broken = |problem: String| BrokenRecording { offset: start, problem };
        let kind = FrameKind::from_byte(kind).ok_or_else(|| broken(format!("no frame has the kind {kind:#04x}")))?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > BODY_MAX {
            return Err(broken(format!("a frame of {length} bytes")));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length, 0);
        let filled = self.fill(&mut body);
        self.body = body;
        filled.map(|()| kind)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BrokenRecording> {
        let offset = self.offset;
        self.source.read_exact(bytes).map_err(|error| {
            let problem = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the recording ends here, without its end".to_owned(),
                _ => error.to_string(),
            };
            BrokenRecording { offset, problem }
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, start: u64) -> Result<T, BrokenRecording> {
        serde_json::from_slice(&self.body)
            .map_err(|error| BrokenRecording { offset: start + FRAME_HEADER as u64, problem: error.to_string() })
    }
}
