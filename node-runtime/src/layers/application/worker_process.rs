//! A worker as the agent sees it: a child, a socket, and what it has been told. It is not trusted; it is asked to end,
//! and killed when it does not.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tokio::io::{Interest, unix::AsyncFd};

use super::looks::{Found, Known};
use crate::kernel::readiness;
use crate::worker::{
    channel::{FDS_MAX, pair, receive, send},
    frame::{FrameError, Image, Mapping, NewFile, ToAgent, ToWorker},
};

/// Pieces of code that go into one frame.
const PIECES: usize = 64;
/// Frames that wait for a worker to read; above it, it is stuck.
const OUTBOX_MAX: usize = 4096;

/// What came from a worker.
pub(super) enum Heard {
    /// A frame.
    Frame(ToAgent),
    /// Its end, or nonsense: it is of no use any more.
    Gone(String),
}

/// A running worker. Dropping it kills it, and waits for its end, which is then at hand.
pub(super) struct WorkerProcess {
    child: Child,
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    files: Known,
}

impl WorkerProcess {
    /// Starts `program worker`, and gives it the ring and the table of kernel symbols.
    pub(super) fn start(program: &Path, ring: BorrowedFd<'_>, ring_bytes: u32, memory_bytes: u64) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let child =
            Command::new(program).arg("worker").env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn()?;
        let socket = readiness::watched(ours, Interest::READABLE | Interest::WRITABLE)?;
        let mut worker = Self { child, socket, buffer: Vec::new(), outbox: VecDeque::new(), files: Known::default() };
        // Opened here: whether addresses are shown is decided by the capabilities of whoever opens it.
        let kallsyms = std::fs::File::open("/proc/kallsyms").ok();
        let mut fds = vec![ring.try_clone_to_owned()?];
        let start = ToWorker::Start { ring_bytes, memory_bytes, kallsyms: kallsyms.is_some() };
        fds.extend(kallsyms.map(OwnedFd::from));
        worker.tell(&start, fds).map_err(io::Error::other)?;
        Ok(worker)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a frame, now or as soon as there is room.
    pub(super) fn tell(&mut self, frame: &ToWorker, fds: Vec<OwnedFd>) -> Result<(), FrameError> {
        self.outbox.push_back((frame.encode()?, fds));
        self.flush();
        Ok(())
    }

    /// Files that it has been told of.
    pub(super) fn known(&self) -> Known {
        self.files.clone()
    }

    /// The code of a process, and its files that this worker does not have yet. What cannot be said of one process is no
    /// end for the others: it goes without names.
    pub(super) fn tell_code(&mut self, image: Image, found: Found) -> Result<(), FrameError> {
        if let Err(error) = self.tell_found(image, found) {
            tracing::warn!(pid = image.pid, %error, "the code of a process could not be told to the worker");
            return self.tell_nothing(image);
        }
        Ok(())
    }

    /// There is nothing to be known of a process.
    pub(super) fn tell_nothing(&mut self, image: Image) -> Result<(), FrameError> {
        self.tell(&ToWorker::Mappings { image, files: Vec::new(), mappings: Vec::new(), complete: true }, Vec::new())
    }

    fn tell_found(&mut self, image: Image, mut found: Found) -> Result<(), FrameError> {
        let (mut files, mut fds, mut mappings) = (Vec::new(), Vec::new(), Vec::new());
        for piece in found.pieces {
            let known = self.files.get(&piece.file).copied();
            let file = known.unwrap_or(self.files.len() as u32);
            if known.is_none() {
                let opened = found.opened.remove(&piece.file);
                files.push(NewFile { id: file, name: piece.name(), opened: opened.is_some() });
                fds.extend(opened);
                Arc::make_mut(&mut self.files).insert(piece.file, file);
            }
            mappings.push(Mapping { start: piece.start, end: piece.end, offset: piece.offset, file });
            if fds.len() == FDS_MAX || mappings.len() == PIECES {
                let (files, mappings) = (std::mem::take(&mut files), std::mem::take(&mut mappings));
                self.tell(&ToWorker::Mappings { image, files, mappings, complete: false }, std::mem::take(&mut fds))?;
            }
        }
        self.tell(&ToWorker::Mappings { image, files, mappings, complete: true }, fds)
    }

    /// The next thing that it says. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            if self.outbox.len() > OUTBOX_MAX {
                return Heard::Gone("it does not read what it is told".to_owned());
            }
            let interest =
                if self.outbox.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let mut ready = match self.socket.ready(interest).await {
                Ok(ready) => ready,
                Err(error) => return Heard::Gone(error.to_string()),
            };
            if ready.ready().is_readable() {
                match receive(self.socket.get_ref(), &mut self.buffer, false) {
                    Ok(packet) if packet.bytes.is_empty() => return Heard::Gone("it ended".to_owned()),
                    Ok(packet) => {
                        return match ToAgent::parse(&packet.bytes) {
                            Ok(frame) => Heard::Frame(frame),
                            Err(error) => Heard::Gone(error.to_string()),
                        };
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready_matching(tokio::io::Ready::READABLE);
                    }
                    Err(error) => return Heard::Gone(error.to_string()),
                }
            }
            if ready.ready().is_writable() {
                ready.clear_ready_matching(tokio::io::Ready::WRITABLE);
                drop(ready);
                self.flush();
            }
        }
    }

    /// Ends it and says how it ended.
    pub(super) fn end(&mut self) -> String {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.to_string();
        }
        // It may just be on its way out; either way it is gone after this.
        let _ = self.child.kill();
        self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    fn flush(&mut self) {
        while let Some((bytes, fds)) = self.outbox.front() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match send(self.socket.get_ref(), bytes, &borrowed, false) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its end shows when the socket is read.
                Err(_) => return self.outbox.clear(),
            }
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a worker may hold: the budget without the ring.
pub(super) fn memory(budget_bytes: u64, ring_bytes: u32) -> u64 {
    budget_bytes.saturating_sub(ring_bytes.into())
}
