//! A worker as the agent sees it: a child, a socket, and what it has been told. It is not trusted; it is asked to end,
//! and killed when it does not.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
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

/// How long the agent, which has one thread, waits for the end of a worker that it has killed. One that waits in the kernel
/// for a file system that does not answer does not die before that does.
const DEATH_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What came from a worker.
pub(super) enum Heard {
    /// A frame.
    Frame(ToAgent),
    /// Its end, or nonsense: it is of no use any more.
    Gone(String),
}

/// A running worker. Dropping it kills it, and waits for its end as far as that is at hand.
pub(super) struct WorkerProcess {
    /// None when its end was seen, or is waited for elsewhere.
    child: Option<Child>,
    pid: u32,
    /// How it ended, or that it did not.
    ended: String,
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
        let pid = child.id();
        let (child, ended) = (Some(child), String::new());
        let mut worker =
            Self { child, pid, ended, socket, buffer: Vec::new(), outbox: VecDeque::new(), files: Known::default() };
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
        self.pid
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
    pub(super) fn end(&mut self) -> &str {
        if let Some(mut child) = self.child.take() {
            self.ended = match death(&mut child) {
                Ok(Some(status)) => status.to_string(),
                Ok(None) => {
                    wait_elsewhere(child);
                    "killed, and stuck in the kernel".to_owned()
                }
                Err(error) => error.to_string(),
            };
        }
        &self.ended
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

/// Kills it where it lives; none where it is not dead in time.
fn death(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    // It may just be on its way out.
    let _ = child.kill();
    within(DEATH_WITHIN, || child.try_wait())
}

/// What `look` finds, or none when the time is over.
fn within<T>(time: Duration, mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let began = Instant::now();
    loop {
        match look()? {
            None if began.elapsed() < time => thread::sleep(LOOK),
            found => return Ok(found),
        }
    }
}

/// Sees to it that nothing of it stays once it can die. Each profile has a few workers at most, and so many threads.
fn wait_elsewhere(mut child: Child) {
    tracing::warn!(pid = child.id(), "a worker does not die: it waits in the kernel, for a file system that hangs");
    let waits = thread::Builder::new().name("reaper".into()).stack_size(64 << 10).spawn(move || child.wait());
    if let Err(error) = waits {
        tracing::warn!(%error, "nobody waits for the end of a stuck worker");
    }
}

/// What a worker may hold: the budget without the ring.
pub(super) fn memory(budget_bytes: u64, ring_bytes: u32) -> u64 {
    budget_bytes.saturating_sub(ring_bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_die_does_not_hold_up_the_agent() {
        let began = Instant::now();
        let never = within(Duration::from_millis(20), || Ok(None::<ExitStatus>));
        assert!(never.unwrap().is_none() && began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_worker_that_dies_says_how() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(death(&mut child).unwrap().unwrap().to_string().contains("signal: 9"));
    }
}
