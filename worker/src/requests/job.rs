//! The job of an AppProfile's requests: reads the ring every 50 ms, and answers the agent until that closes the socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trilobite_worker_wire::{
    Message, REPORT_INTERVAL, RecordingSettings, RequestCounts, RequestSettings, RingView,
    channel::{Packet, receive},
    protocol::CHUNK_BYTES,
};

use super::{budget::Budget, capture::Capture, readers::Readers};
use crate::{clock::boot_ns, outbox::Outbox, panics::report_panics};

/// Pause between two drains of the ring. The kernel program does not wake this process.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);
/// The same where a drain found the ring filled to a quarter.
const BUSY_INTERVAL: Duration = Duration::from_millis(5);
/// Pause without a ring, for rows that become too old.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);
/// Records that are read from the ring before the socket is polled again.
const BATCH: usize = 256;
/// Interval of `Message::RequestProgress` while the counts change.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Messages that may wait when more of a recording is sent.
const RECORDED_WAITING_MAX: usize = 16;

/// The requests of one AppProfile.
pub(crate) struct RequestJob<'a> {
    socket: BorrowedFd<'a>,
    /// None once the capture has ended.
    ring: Option<RingView>,
    ring_bytes: usize,
    capture: Capture,
    readers: Readers,
    outbox: Outbox,
    reviewed: Instant,
    reported: RequestCounts,
    reported_at: Instant,
}

/// What a drain found.
struct Drained {
    records: usize,
    bytes: usize,
}

impl<'a> RequestJob<'a> {
    pub(crate) fn new(
        socket: BorrowedFd<'a>,
        ring: OwnedFd,
        ring_bytes: usize,
        settings: &RequestSettings,
        recording: Option<RecordingSettings>,
        budget: Budget,
    ) -> io::Result<Self> {
        Ok(Self {
            // The mapping stays when the descriptor is closed.
            ring: Some(RingView::map(ring.as_fd(), ring_bytes)?),
            socket,
            ring_bytes,
            capture: Capture::new(settings, recording, budget),
            readers: Readers::default(),
            outbox: Outbox::default(),
            reviewed: Instant::now(),
            reported: RequestCounts::default(),
            reported_at: Instant::now(),
        })
    }

    /// Serves until the agent closes the socket.
    pub(crate) fn serve(mut self) -> io::Result<()> {
        report_panics();
        self.outbox.push(&Message::Ready)?;
        let mut buffer = Vec::new();
        loop {
            let drained = self.drain();
            self.capture.adapt();
            for message in self.capture.take_messages() {
                self.outbox.push(&message)?;
            }
            self.send_recording(RECORDED_WAITING_MAX)?;
            let has_more_rows = self.readers.serve(self.capture.rows(), &mut self.outbox)?;
            self.report_progress()?;
            match self.outbox.flush(self.socket) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                flushed => flushed?,
            }
            let pause = self.pause(&drained, has_more_rows);
            if !self.wait(pause)? {
                continue;
            }
            let packet = receive(self.socket, &mut buffer, true)?;
            if packet.bytes.is_empty() {
                return Ok(());
            }
            self.apply(&packet)?;
        }
    }

    fn apply(&mut self, packet: &Packet) -> io::Result<()> {
        match Message::decode(&packet.bytes).map_err(io::Error::other)? {
            Message::CgroupMembership { cgroup, selected } => self.capture.apply_membership(cgroup, selected),
            Message::RowsWanted { id, query } => self.readers.add(id, &query, self.capture.rows()),
            Message::RowsCancelled { id } => self.readers.remove(id),
            Message::StopCapture => self.stop_capture()?,
            _ => return Err(io::Error::other("the agent sent a message that it may not send now")),
        }
        Ok(())
    }

    fn drain(&mut self) -> Drained {
        let mut drained = Drained { records: 0, bytes: 0 };
        if let Some(ring) = &mut self.ring {
            drained.records = ring.drain(BATCH, &mut |record| {
                drained.bytes += record.len();
                self.capture.record(record);
            });
        }
        drained
    }

    /// Reads what the ring still has, and sends the last counts.
    fn stop_capture(&mut self) -> io::Result<()> {
        while self.drain().records == BATCH {}
        self.ring = None;
        self.capture.stop();
        self.send_recording(usize::MAX)?;
        if self.capture.is_recorded() {
            self.outbox.push(&Message::RecordedChunk(Vec::new()))?;
        }
        self.reported = self.capture.counts();
        self.outbox.push(&Message::RequestProgress(self.reported.clone()))
    }

    /// Sends what was recorded while fewer messages than that wait.
    fn send_recording(&mut self, waiting_max: usize) -> io::Result<()> {
        while self.outbox.waiting() < waiting_max
            && let Some(chunk) = self.capture.take_recorded(CHUNK_BYTES)
        {
            self.outbox.push(&Message::RecordedChunk(chunk))?;
        }
        Ok(())
    }

    fn pause(&self, drained: &Drained, has_more_rows: bool) -> Duration {
        let rows_can_be_sent = has_more_rows && self.outbox.is_empty();
        match &self.ring {
            _ if rows_can_be_sent || drained.records == BATCH => Duration::ZERO,
            Some(_) if drained.bytes >= self.ring_bytes / 4 => BUSY_INTERVAL,
            Some(_) => DRAIN_INTERVAL,
            None => REVIEW_INTERVAL,
        }
    }

    /// Waits for the agent, for room in the socket if messages wait, and at most for the pause. Returns whether the agent has sent
    /// something, or is gone.
    fn wait(&self, pause: Duration) -> io::Result<bool> {
        let wanted = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut sources = [PollFd::new(&self.socket, wanted)];
        let timeout = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: pause.subsec_nanos().into(),
        };
        match poll(&mut sources, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(sources[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
    }

    fn report_progress(&mut self) -> io::Result<()> {
        if self.reviewed.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        self.reviewed = Instant::now();
        self.capture.review(boot_ns());
        let counts = self.capture.counts();
        if counts != self.reported || self.reported_at.elapsed() >= REPORT_INTERVAL {
            self.outbox.push(&Message::RequestProgress(counts.clone()))?;
            (self.reported, self.reported_at) = (counts, Instant::now());
        }
        Ok(())
    }
}
