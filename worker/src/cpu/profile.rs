//! A CPU profile while it samples: reads the ring, and asks the agent about processes and cgroups that it does not know.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use trilobite_worker_wire::{
    Mapping, Message, NewFile, ProcessImage, REPORT_INTERVAL, RingView, SampleCounts,
    channel::{Packet, receive, send},
};

use super::{
    cgroup_names::CgroupNames,
    processes::{Processes, Resolution, leaves_known_code},
    result::{Collected, SampledTarget},
    sample::Sample,
    stacks::{Frame, Stacks},
};
use crate::{
    pending::{Membership, PendingRecords},
    symbolize::SampledFiles,
};

/// Samples that are read from the ring before the socket is polled again.
const BATCH: usize = 256;
/// Pause between two drains of the ring. The kernel program does not wake this process before the ring is half full.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// Samples of all cgroups that may wait for the agent to say whether they belong to the profile.
const PENDING_MAX: usize = 1024;
/// Interval of `Message::Progress` while the counts change.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long the result waits for answers of the agent: a little longer than the agent waits for the pod of a cgroup.
const ANSWERS_TIMEOUT_NS: u64 = 6_000_000_000;
/// Bytes of folded text at most; the picture is about three times as long.
const FOLDED_MAX: usize = 4 << 20;

/// What `Message::Finish` said.
struct Ending {
    target: SampledTarget,
    lost: u64,
    /// When the result is made although answers are missing.
    deadline_ns: u64,
}

/// A profile that is being sampled.
pub(crate) struct Profile<'a> {
    socket: BorrowedFd<'a>,
    ring_fd: OwnedFd,
    ring: RingView,
    kallsyms: Option<OwnedFd>,
    started: Instant,
    files: SampledFiles,
    processes: Processes,
    stacks: Stacks,
    counts: SampleCounts,
    pending: PendingRecords<Sample>,
    cgroup_names: CgroupNames,
    reported: SampleCounts,
    reported_ns: u64,
    folded_max: usize,
    ending: Option<Ending>,
}

impl<'a> Profile<'a> {
    pub(crate) fn new(
        socket: BorrowedFd<'a>,
        ring_fd: OwnedFd,
        ring_bytes: usize,
        kallsyms: Option<OwnedFd>,
        memory_bytes: u64,
    ) -> io::Result<Self> {
        // A quarter is for stacks; the rest is for symbol tables, the folded text and the picture.
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        Ok(Self {
            ring: RingView::map(ring_fd.as_fd(), ring_bytes)?,
            socket,
            ring_fd,
            kallsyms,
            started: Instant::now(),
            files: SampledFiles::default(),
            processes: Processes::default(),
            stacks: Stacks::new(memory / 4),
            counts: SampleCounts::default(),
            pending: PendingRecords::new(PENDING_MAX),
            cgroup_names: CgroupNames::default(),
            reported: SampleCounts::default(),
            reported_ns: 0,
            folded_max: (memory / 16).min(FOLDED_MAX),
            ending: None,
        })
    }

    /// Samples until the agent says that the profile has ended, and sends the result. Returns early if the agent is gone.
    pub(crate) fn make(mut self) -> io::Result<()> {
        self.send(&Message::Ready)?;
        let mut buffer = Vec::new();
        loop {
            let sampled = self.read_ring()?;
            if sampled == 0
                && let Some(ending) = self.take_ending()
            {
                return self.collect().send_result(&ending.target, ending.lost);
            }
            self.report_progress()?;
            let more = sampled == BATCH || (sampled > 0 && self.ending.is_some());
            let pause = if more { Duration::ZERO } else { DRAIN_INTERVAL };
            let timeout = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
            let mut sources = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.ring_fd.as_fd(), PollFlags::IN),
            ];
            match poll(&mut sources, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if sources[0].revents().is_empty() {
                continue;
            }
            let packet = receive(self.socket, &mut buffer, true)?;
            if packet.bytes.is_empty() {
                return Ok(());
            }
            self.apply(packet)?;
        }
    }

    fn apply(&mut self, packet: Packet) -> io::Result<()> {
        match Message::decode(&packet.bytes).map_err(io::Error::other)? {
            Message::ProcessMappings { image, files, mappings, complete, dropped } => {
                self.add_files(files, packet.fds);
                self.add_mappings(image, &mappings, complete, dropped);
            }
            Message::CgroupName { cgroup, name } => self.cgroup_names.insert(cgroup, &name),
            Message::CgroupMembership { cgroup, selected } => self.apply_membership(cgroup, selected)?,
            Message::Finish { target, node, frequency_hz, sampled_ms, cpu_limit_millis, lost } => {
                let target = SampledTarget { target, node, frequency_hz, sampled_ms, cpu_limit_millis };
                self.ending = Some(Ending { target, lost, deadline_ns: self.now_ns() + ANSWERS_TIMEOUT_NS });
            }
            _ => return Err(io::Error::other("the agent sent a message that it may not send now")),
        }
        Ok(())
    }

    /// The ending, once no sample waits for an answer any more or the time for answers is over.
    fn take_ending(&mut self) -> Option<Ending> {
        let now = self.now_ns();
        let waiting = self.processes.waiting() > 0 || !self.pending.is_empty() || self.cgroup_names.is_waiting();
        self.ending.take_if(|ending| !waiting || now >= ending.deadline_ns)
    }

    fn read_ring(&mut self) -> io::Result<usize> {
        let mut samples = Vec::new();
        let mut malformed = 0;
        let read = self.ring.drain(BATCH, &mut |record| match Sample::parse(record) {
            Some(sample) => samples.push(sample),
            None => malformed += 1,
        });
        self.counts.malformed += malformed;
        for sample in samples {
            let cgroup = sample.cgroup;
            if !sample.undecided {
                self.resolve(sample)?;
                continue;
            }
            match self.pending.membership(cgroup, sample, 1) {
                Membership::Selected(sample) => self.resolve(sample)?,
                Membership::NotSelected => self.counts.others += 1,
                Membership::Overflow => self.counts.undecided += 1,
                Membership::Pending { ask_agent: true } => self.send(&Message::MembershipWanted { cgroup })?,
                Membership::Pending { ask_agent: false } => {}
            }
        }
        Ok(read)
    }

    fn apply_membership(&mut self, cgroup: u64, selected: Option<bool>) -> io::Result<()> {
        let samples = self.pending.answer(cgroup, selected);
        match selected {
            Some(true) => samples.into_iter().try_for_each(|sample| self.resolve(sample))?,
            Some(false) => self.counts.others += samples.len() as u64,
            None => self.counts.undecided += samples.len() as u64,
        }
        Ok(())
    }

    fn resolve(&mut self, sample: Sample) -> io::Result<()> {
        let (image, cgroup, truncated, user) = (sample.image, sample.cgroup, sample.truncated, !sample.user.is_empty());
        if self.cgroup_names.must_ask(cgroup) {
            self.send(&Message::CgroupNameWanted { cgroup })?;
        }
        match self.processes.resolve(sample, self.now_ns()) {
            Resolution::Stack { frames, mapped, refresh } => {
                self.count(&frames, truncated, user && !mapped);
                if refresh {
                    return self.send(&Message::MappingsWanted { image, cgroup });
                }
            }
            Resolution::RequestMappings => return self.send(&Message::MappingsWanted { image, cgroup }),
            Resolution::Wait => {}
        }
        Ok(())
    }

    fn add_files(&mut self, files: Vec<NewFile>, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        for file in files {
            let fd = if file.opened { fds.next() } else { None };
            self.files.add(file.id, &file.name, file.kind, fd);
        }
    }

    fn add_mappings(&mut self, image: ProcessImage, mappings: &[Mapping], complete: bool, dropped: u32) {
        let answered = self.processes.add_mappings(image, mappings, complete, dropped);
        self.counts.remapped += answered.remapped;
        self.counts.mappings_dropped += answered.dropped;
        for resolved in answered.resolved {
            self.count(&resolved.frames, resolved.sample.truncated, !resolved.mapped);
        }
        if complete {
            self.files.close_surplus();
        }
    }

    fn count(&mut self, frames: &[Frame], truncated: bool, unmapped: bool) {
        if !self.stacks.add(frames) {
            self.counts.overflow += 1;
            return;
        }
        for frame in frames {
            if let Frame::File { file, .. } = frame {
                self.files.count_sample(*file);
            }
        }
        self.counts.samples += 1;
        self.counts.truncated += u64::from(truncated || (!unmapped && leaves_known_code(frames)));
        self.counts.unmapped += u64::from(unmapped);
    }

    /// Counts what still waits, without the missing answers.
    fn collect(mut self) -> Collected<'a> {
        for resolved in self.processes.resolve_all() {
            self.count(&resolved.frames, resolved.sample.truncated, !resolved.mapped);
        }
        self.counts.undecided += self.pending.give_up();
        let Self { socket, kallsyms, files, stacks, counts, folded_max, cgroup_names, .. } = self;
        Collected { socket, kallsyms, files, cgroup_names: cgroup_names.into_names(), stacks, counts, folded_max }
    }

    fn report_progress(&mut self) -> io::Result<()> {
        let now = self.now_ns();
        let interval = if self.reported == self.counts { REPORT_INTERVAL } else { PROGRESS_INTERVAL };
        if Duration::from_nanos(now - self.reported_ns) < interval {
            return Ok(());
        }
        (self.reported_ns, self.reported) = (now, self.counts);
        self.send(&Message::Progress(self.counts))
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        send(self.socket, &message.encode().map_err(io::Error::other)?, &[], true)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
