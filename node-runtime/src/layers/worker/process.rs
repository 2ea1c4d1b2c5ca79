//! A running worker: the child process and its socket. The agent does not trust it, and kills it if it does not end when it should.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::io::{Interest, unix::AsyncFd};

use trilobite_worker_wire::{
    Message, MessageError, REPORT_INTERVAL,
    channel::{pair, receive, send},
};

use super::program::WorkerProgram;
use crate::kernel::readiness;

/// Messages that may wait for the worker to read them; above it the worker is stuck.
const OUTBOX_MAX: usize = 4096;

/// How long the agent, which has one thread, waits for a killed worker to end. A worker that is blocked in the kernel by a file
/// system that does not answer ends only when that answers.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval at which the end is polled meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How long a worker may say nothing while it captures or keeps rows. It reports every 5 s at the latest; one that only lacks
/// processor time gets enough for one of four reports.
const SILENCE_MAX: Duration = REPORT_INTERVAL.saturating_mul(4);

/// The worker has ended, hangs, or sends what is no message: it cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WorkerGone(String);

/// A running worker. Dropping it kills it, and waits for its end up to `KILL_TIMEOUT`.
pub(crate) struct WorkerProcess {
    /// None once the process has ended, or another thread waits for its end.
    child: Option<Child>,
    pid: u32,
    /// How the process ended, as text.
    exit: String,
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Since its last message.
    silence: Duration,
}

impl WorkerProcess {
    /// Starts a worker, and sends it its first message, which says what its job is, with descriptors.
    pub(crate) fn start(program: &WorkerProgram, job: &Message, fds: Vec<OwnedFd>) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let child = program.command().env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn()?;
        let socket = readiness::register(ours, Interest::READABLE | Interest::WRITABLE)?;
        let mut worker = Self {
            pid: child.id(),
            child: Some(child),
            exit: String::new(),
            socket,
            buffer: Vec::new(),
            outbox: VecDeque::new(),
            silence: Duration::ZERO,
        };
        worker.send(job, fds).map_err(io::Error::other)?;
        Ok(worker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a message, now or as soon as the socket has room.
    pub(crate) fn send(&mut self, message: &Message, fds: Vec<OwnedFd>) -> Result<(), MessageError> {
        self.outbox.push_back((message.encode()?, fds));
        self.flush();
        Ok(())
    }

    /// The next message of the worker. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Result<Message, WorkerGone> {
        let gone = |error: &dyn std::fmt::Display| Err(WorkerGone(error.to_string()));
        loop {
            if self.outbox.len() > OUTBOX_MAX {
                return gone(&"it does not read its messages");
            }
            let interest =
                if self.outbox.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let mut ready = match self.socket.ready(interest).await {
                Ok(ready) => ready,
                Err(error) => return gone(&error),
            };
            if ready.ready().is_readable() {
                match receive(self.socket.get_ref(), &mut self.buffer, false) {
                    Ok(packet) if packet.bytes.is_empty() => return gone(&"it ended"),
                    Ok(packet) => {
                        self.silence = Duration::ZERO;
                        return Message::decode(&packet.bytes).or_else(|error| gone(&error));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready_matching(tokio::io::Ready::READABLE);
                    }
                    Err(error) => return gone(&error),
                }
            }
            if ready.ready().is_writable() {
                ready.clear_ready_matching(tokio::io::Ready::WRITABLE);
                drop(ready);
                self.flush();
            }
        }
    }

    /// Called at each tick of a worker that has to report. Ticks are counted, not time: an agent that was stopped itself has not read.
    pub(crate) fn check_silence(&mut self, tick: Duration) -> Result<(), WorkerGone> {
        self.silence += tick;
        if self.silence < SILENCE_MAX {
            return Ok(());
        }
        Err(WorkerGone(format!("it has not reported for {} s", SILENCE_MAX.as_secs())))
    }

    /// Kills the process if it still runs. Returns how it ended.
    pub(crate) fn kill(&mut self) -> &str {
        if let Some(mut child) = self.child.take() {
            self.exit = match kill(&mut child) {
                Ok(Some(status)) => status.to_string(),
                Ok(None) => {
                    wait_on_another_thread(child);
                    "killed, and stuck in the kernel".to_owned()
                }
                Err(error) => error.to_string(),
            };
        }
        &self.exit
    }

    fn flush(&mut self) {
        while let Some((bytes, fds)) = self.outbox.front() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match send(self.socket.get_ref(), bytes, &borrowed, false) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The worker has ended; the next read of the socket says so.
                Err(_) => return self.outbox.clear(),
            }
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// None if the process has not ended after `KILL_TIMEOUT`.
fn kill(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    // Fails if the process is just ending.
    let _ = child.kill();
    poll_until(KILL_TIMEOUT, || child.try_wait())
}

/// The first value that `poll` returns, or none after the timeout.
fn poll_until<T>(timeout: Duration, mut poll: impl FnMut() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let started = Instant::now();
    loop {
        match poll()? {
            None if started.elapsed() < timeout => thread::sleep(POLL_INTERVAL),
            value => return Ok(value),
        }
    }
}

/// Reaps the process once it can end. A profile starts a few workers at most, and so at most as many of these threads.
fn wait_on_another_thread(mut child: Child) {
    tracing::warn!(
        pid = child.id(),
        "a killed worker does not end: a file system that does not answer blocks it in the kernel"
    );
    let reaper = thread::Builder::new().name("reaper".into()).stack_size(64 << 10).spawn(move || child.wait());
    if let Err(error) = reaper {
        tracing::warn!(%error, "a stuck worker will not be reaped");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn worker_that_does_not_end_does_not_block_the_agent() {
        let started = Instant::now();
        let never = poll_until(Duration::from_millis(20), || Ok(None::<ExitStatus>));
        assert!(never.unwrap().is_none() && started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn exit_of_a_killed_worker_is_reported() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(kill(&mut child).unwrap().unwrap().to_string().contains("signal: 9"));
    }
}
