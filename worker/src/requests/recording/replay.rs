//! The job of a recording: its calls become rows as those of a ring do, which are sent to the agent as they are made.

use std::{
    fs::File,
    io::{self, BufReader},
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::event::{PollFd, PollFlags, poll};
use trilobite_worker_wire::{Message, Recorded, Replayed, RequestSettings, RowQuery};

use super::{
    super::{budget::Budget, capture::Capture, readers::Readers, record::DataCall},
    reader::{BrokenRecording, Next, RecordingReader},
};
use crate::{outbox::Outbox, panics::report_panics};

/// Calls that are read before their rows are sent.
const BATCH: usize = 64;
/// Id of the rows.
const READER: u32 = 0;

/// A recording that is played.
pub(crate) struct ReplayJob<'a> {
    socket: BorrowedFd<'a>,
    reader: RecordingReader<BufReader<File>>,
    capture: Capture,
    readers: Readers,
    outbox: Outbox,
}

/// What is known when all calls were read.
type Ended = Result<Recorded, BrokenRecording>;

impl<'a> ReplayJob<'a> {
    pub(crate) fn new(socket: BorrowedFd<'a>, file: OwnedFd, budget: Budget) -> io::Result<Self> {
        let (reader, header) = RecordingReader::open(BufReader::new(File::from(file))).map_err(io::Error::other)?;
        // The rows were kept for a time; all are wanted now.
        let settings = RequestSettings { retain_ns: u64::MAX, ..header.settings.clone() };
        let mut job = Self {
            socket,
            reader,
            capture: Capture::new(&settings, None, budget),
            readers: Readers::default(),
            outbox: Outbox::default(),
        };
        job.outbox.push(&Message::ReplayStarted(Box::new(header)))?;
        job.readers.add(READER, &RowQuery { follow: true, ..RowQuery::default() }, job.capture.rows());
        Ok(job)
    }

    /// Sends the rows, and then what the recording says of itself.
    pub(crate) fn serve(mut self) -> io::Result<()> {
        report_panics();
        let mut end: Option<Ended> = None;
        loop {
            if end.is_none() && self.outbox.is_empty() {
                end = self.read_calls();
            }
            let has_more = self.readers.serve(self.capture.rows(), &mut self.outbox)?;
            if let Some(end) = end.take_if(|_| !has_more) {
                let replayed = Message::Replayed(Box::new(self.replayed(end)));
                self.outbox.push_rows(&replayed)?;
                return self.send_rest();
            }
            if !self.send()? {
                return Ok(());
            }
        }
    }

    /// Reads some calls; returns the end of the recording.
    fn read_calls(&mut self) -> Option<Ended> {
        let mut time = None;
        for _ in 0..BATCH {
            match self.reader.next() {
                Ok(Next::Call(record)) => match DataCall::parse(record) {
                    Some(call) => {
                        time = Some(call.time);
                        self.capture.record(record);
                    }
                    None => return Some(Err(self.reader.broken_call())),
                },
                Ok(Next::End(recorded)) => return Some(Ok(recorded)),
                Err(broken) => return Some(Err(broken)),
            }
        }
        self.capture.adapt();
        // Questions and verdicts have no addressee.
        self.capture.take_messages();
        if let Some(time) = time {
            self.capture.review(time);
        }
        None
    }

    fn replayed(&mut self, end: Ended) -> Replayed {
        let counts = self.capture.counts();
        match end {
            Ok(recorded) => Replayed { recorded: Some(recorded), counts, problem: None },
            Err(broken) => Replayed { recorded: None, counts, problem: Some(broken.to_string()) },
        }
    }

    fn send_rest(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            if !self.send()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends what the socket has room for, and waits for room if there is more. False if the agent is gone.
    fn send(&mut self) -> io::Result<bool> {
        match self.outbox.flush(self.socket) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            flushed => flushed?,
        }
        if !self.outbox.is_empty() {
            let mut room = [PollFd::new(&self.socket, PollFlags::OUT)];
            match poll(&mut room, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
