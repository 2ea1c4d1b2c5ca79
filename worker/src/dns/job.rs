//! The job of a node's DNS: reads the ring as soon as there is a record, and tells the agent, until that closes the socket.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trilobite_worker_wire::{DnsCounts, Message, REPORT_INTERVAL, RingView, channel::receive};

use super::tracker::DnsTracker;
use crate::{clock::boot_ns, outbox::Outbox, panics::report_panics};

/// Records that are read before the agent is told.
const BATCH: usize = 256;
/// After a drain of so many records they gather for a while, instead of a wake-up for each.
const MANY: usize = 16;
/// For how long.
const GATHERING_TIME: Duration = Duration::from_millis(5);
/// Interval at which queries are given up and counts are reported.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// All DNS of a node.
pub(crate) struct DnsJob<'a> {
    socket: BorrowedFd<'a>,
    /// To be woken by.
    ring_fd: OwnedFd,
    ring: RingView,
    tracker: DnsTracker,
    outbox: Outbox,
    reviewed: Instant,
    reported: DnsCounts,
    reported_at: Instant,
}

impl<'a> DnsJob<'a> {
    /// Passes over `skip` records at the head of the ring. To be called before system calls are filtered: it finds the clock.
    pub(crate) fn new(socket: BorrowedFd<'a>, ring: OwnedFd, ring_bytes: usize, skip: u32) -> io::Result<Self> {
        boot_ns();
        let mut view = RingView::map(ring.as_fd(), ring_bytes)?;
        view.drain(skip as usize, &mut |_| {});
        Ok(Self {
            socket,
            ring_fd: ring,
            ring: view,
            tracker: DnsTracker::default(),
            outbox: Outbox::default(),
            reviewed: Instant::now(),
            reported: DnsCounts::default(),
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
            self.report_progress()?;
            match self.tell_agent() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                told => told?,
            }
            if self.wait(drained)? {
                let packet = receive(self.socket, &mut buffer, true)?;
                if packet.bytes.is_empty() {
                    return Ok(());
                }
                return Err(io::Error::other("the agent sent a message that it may not send now"));
            }
        }
    }

    fn drain(&mut self) -> usize {
        let Self { ring, tracker, .. } = self;
        ring.drain(BATCH, &mut |record| {
            if catch_unwind(AssertUnwindSafe(|| tracker.record(record))).is_err() {
                tracker.count_malformed();
            }
        })
    }

    /// Messages are packed when the agent has read those before: what waits is bounded by the tracker.
    fn tell_agent(&mut self) -> io::Result<()> {
        loop {
            self.outbox.flush(self.socket)?;
            if !self.outbox.is_empty() {
                return Ok(());
            }
            let Some(batch) = self.tracker.take_batch() else { return Ok(()) };
            self.outbox.push(&Message::DnsSeen(batch))?;
        }
    }

    fn report_progress(&mut self) -> io::Result<()> {
        if self.reviewed.elapsed() < REVIEW_INTERVAL {
            return Ok(());
        }
        self.reviewed = Instant::now();
        self.tracker.review(boot_ns());
        let counts = self.tracker.counts();
        let is_due = counts != self.reported || self.reported_at.elapsed() >= REPORT_INTERVAL;
        // An agent that does not read is told once it does.
        if is_due && self.outbox.is_empty() {
            self.outbox.push(&Message::DnsProgress(counts))?;
            (self.reported, self.reported_at) = (counts, Instant::now());
        }
        Ok(())
    }

    /// Waits for records, for the agent, or for room in the socket if messages wait. Returns whether the agent has sent something, or
    /// is gone.
    fn wait(&self, drained: usize) -> io::Result<bool> {
        let pause = match drained {
            BATCH => Duration::ZERO,
            MANY.. => GATHERING_TIME,
            _ => REVIEW_INTERVAL,
        };
        let wanted = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut sources = [PollFd::new(&self.socket, wanted), PollFd::new(&self.ring_fd, PollFlags::IN)];
        let sources = if drained < MANY { &mut sources[..] } else { &mut sources[..1] };
        let timeout = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: pause.subsec_nanos().into(),
        };
        match poll(sources, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(sources[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
    }
}
