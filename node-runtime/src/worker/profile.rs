//! One profile, from its first sample to its picture. Reads the ring, asks the agent about processes and cgroups that it
//! does not know, and at the end makes names of addresses.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    channel::{Packet, receive, send},
    confine::{self, Phase},
    flame, fold,
    frame::{CHUNK, Counts, Image, Mapping, NewFile, ToAgent, ToWorker},
    kallsyms,
    processes::{Answer, Processes, has_left_code},
    sample::Sample,
    stacks::{Frame, Stacks},
    symbols::Files,
};
use crate::kernel::RingView;

/// Samples that are taken from the ring before the socket is looked at again.
const BATCH: usize = 256;
/// Samples that wait until it is known whose cgroup theirs is, together.
const UNDECIDED_MAX: usize = 1024;
/// How often the agent is told how far we are.
const PROGRESS_NS: u64 = 1_000_000_000;
/// How long the end waits for answers to questions that are open: a little longer than the agent lets a cgroup be undecided.
const ANSWERS_WITHIN_NS: u64 = 6_000_000_000;
/// Bytes of folded text at most; the picture is about three times as long.
const FOLDED_MAX: usize = 4 << 20;

/// A profile that is being made.
pub(super) struct Profile<'a> {
    socket: BorrowedFd<'a>,
    ring_fd: OwnedFd,
    ring: RingView,
    kallsyms: Option<OwnedFd>,
    started: Instant,
    files: Files,
    processes: Processes,
    stacks: Stacks,
    counts: Counts,
    undecided: HashMap<u64, Vec<Sample>>,
    held: usize,
    decided: HashMap<u64, bool>,
    told: Counts,
    told_ns: u64,
    folded_max: usize,
    ending: Option<(String, u64, u64)>,
}

impl<'a> Profile<'a> {
    pub(super) fn new(
        socket: BorrowedFd<'a>,
        ring_fd: OwnedFd,
        ring_bytes: usize,
        kallsyms: Option<OwnedFd>,
        memory_bytes: u64,
    ) -> io::Result<Self> {
        // A quarter for stacks; the rest is for tables of symbols, the folded text and the picture.
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        Ok(Self {
            ring: RingView::map(ring_fd.as_fd(), ring_bytes)?,
            socket,
            ring_fd,
            kallsyms,
            started: Instant::now(),
            files: Files::default(),
            processes: Processes::default(),
            stacks: Stacks::new(memory / 4),
            counts: Counts::default(),
            undecided: HashMap::new(),
            held: 0,
            decided: HashMap::new(),
            told: Counts::default(),
            told_ns: 0,
            folded_max: (memory / 16).min(FOLDED_MAX),
            ending: None,
        })
    }

    /// Until the agent says that the profile is over, or is gone.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.tell(&ToAgent::Ready)?;
        let mut buffer = Vec::new();
        loop {
            let taken = self.read_ring()?;
            if taken == 0
                && let Some((title, lost)) = self.ended()
            {
                return self.finish(&title, lost);
            }
            self.report()?;
            let wait = Timespec { tv_sec: if taken == 0 { 1 } else { 0 }, tv_nsec: 0 };
            let mut ends = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(self.ring_fd.as_fd(), PollFlags::IN),
            ];
            match poll(&mut ends, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if ends[0].revents().is_empty() {
                continue;
            }
            let packet = receive(self.socket, &mut buffer, true)?;
            if packet.bytes.is_empty() {
                return Ok(());
            }
            self.hear(packet)?;
        }
    }

    fn hear(&mut self, packet: Packet) -> io::Result<()> {
        match ToWorker::parse(&packet.bytes).map_err(io::Error::other)? {
            ToWorker::Start { .. } => return Err(io::Error::other("a second start")),
            ToWorker::Mappings { image, files, mappings, complete } => {
                self.learn(image, files, packet.fds, &mappings, complete)
            }
            ToWorker::Owner { cgroup, wanted } => self.decide(cgroup, wanted)?,
            ToWorker::Finish { title, lost } => self.ending = Some((title, lost, self.now_ns() + ANSWERS_WITHIN_NS)),
        }
        Ok(())
    }

    /// The profile is over, and nothing more is to be learned about what was sampled.
    fn ended(&mut self) -> Option<(String, u64)> {
        let (_, _, latest) = self.ending.as_ref()?;
        if self.now_ns() < *latest && (self.processes.waiting() > 0 || self.held > 0) {
            return None;
        }
        self.ending.take().map(|(title, lost, _)| (title, lost))
    }

    fn read_ring(&mut self) -> io::Result<usize> {
        let mut samples = Vec::new();
        let mut malformed = 0;
        let taken = self.ring.drain(BATCH, &mut |record| match Sample::parse(record) {
            Some(sample) => samples.push(sample),
            None => malformed += 1,
        });
        self.counts.malformed += malformed;
        for sample in samples {
            self.sampled(sample)?;
        }
        Ok(taken)
    }

    fn sampled(&mut self, sample: Sample) -> io::Result<()> {
        if !sample.undecided {
            return self.wanted(sample);
        }
        match self.decided.get(&sample.cgroup) {
            Some(true) => self.wanted(sample),
            Some(false) => {
                self.counts.others += 1;
                Ok(())
            }
            None if self.held >= UNDECIDED_MAX => {
                self.counts.undecided += 1;
                Ok(())
            }
            None => {
                let cgroup = sample.cgroup;
                self.held += 1;
                let first = !self.undecided.contains_key(&cgroup);
                self.undecided.entry(cgroup).or_default().push(sample);
                if first { self.tell(&ToAgent::WantOwner { cgroup }) } else { Ok(()) }
            }
        }
    }

    fn decide(&mut self, cgroup: u64, wanted: Option<bool>) -> io::Result<()> {
        if let Some(wanted) = wanted {
            self.decided.insert(cgroup, wanted);
        }
        let held = self.undecided.remove(&cgroup).unwrap_or_default();
        self.held -= held.len();
        match wanted {
            Some(true) => {
                for sample in held {
                    self.wanted(sample)?;
                }
            }
            Some(false) => self.counts.others += held.len() as u64,
            None => self.counts.undecided += held.len() as u64,
        }
        Ok(())
    }

    fn wanted(&mut self, sample: Sample) -> io::Result<()> {
        let (image, cgroup, truncated, user) = (sample.image, sample.cgroup, sample.truncated, !sample.user.is_empty());
        match self.processes.take(sample, self.now_ns()) {
            Answer::Stack(frames, known) => self.count(&frames, truncated, user && !known),
            Answer::Ask => return self.tell(&ToAgent::WantMappings { image, cgroup }),
            Answer::Wait => {}
        }
        Ok(())
    }

    fn learn(&mut self, image: Image, files: Vec<NewFile>, fds: Vec<OwnedFd>, mappings: &[Mapping], complete: bool) {
        let mut fds = fds.into_iter();
        for file in files {
            let fd = if file.opened { fds.next() } else { None };
            self.files.add(file.id, &file.name, fd);
        }
        for (sample, frames, known) in self.processes.answered(image, mappings, complete) {
            self.count(&frames, sample.truncated, !known);
        }
        if complete {
            self.files.shrink();
        }
    }

    fn count(&mut self, frames: &[Frame], truncated: bool, unmapped: bool) {
        if !self.stacks.add(frames) {
            self.counts.overflow += 1;
            return;
        }
        for frame in frames {
            if let Frame::File { file, .. } = frame {
                self.files.sampled(*file);
            }
        }
        self.counts.samples += 1;
        self.counts.truncated += u64::from(truncated || (!unmapped && has_left_code(frames)));
        self.counts.unmapped += u64::from(unmapped);
    }

    fn finish(mut self, title: &str, lost: u64) -> io::Result<()> {
        for (sample, frames, known) in self.processes.give_up() {
            self.count(&frames, sample.truncated, !known);
        }
        let never: HashSet<u64> = self.undecided.keys().copied().collect();
        for cgroup in never {
            self.decide(cgroup, None)?;
        }
        let addresses = fold::kernel_addresses(self.stacks.frames());
        let kernel = match self.kallsyms.take() {
            Some(table) if !addresses.is_empty() => kallsyms::names(File::from(table), &addresses),
            _ => HashMap::new(),
        };
        // What can be said without a look into any file is at the agent before one of them can be our end.
        let files = std::mem::take(&mut self.files);
        let mut called = |file: u32, offsets: &[u64]| vec![files.called(file); offsets.len()];
        let folded = fold::fold(&self.stacks, &mut called, &kernel, self.folded_max);
        self.send_folded(&folded.text)?;
        drop(folded);
        let (mut files, dropped) = files.ready();
        self.counts.files_dropped = dropped;
        confine::filter(Phase::Parse)?;

        let mut lost_agent = None;
        let mut named = |file: u32, offsets: &[u64]| {
            if let Some(name) = files.reads(file)
                && let Err(error) = self.tell(&ToAgent::Reading(name.to_owned()))
            {
                lost_agent = Some(error);
            }
            files.names(file, offsets)
        };
        let folded = fold::fold(&self.stacks, &mut named, &kernel, self.folded_max);
        if let Some(error) = lost_agent {
            return Err(error);
        }
        drop((files, kernel));
        self.counts.truncated = self.counts.truncated.saturating_sub(folded.whole);
        let folded = folded.text;
        // Given back before the picture is drawn, which needs as much.
        self.stacks = Stacks::new(0);
        self.send_folded(&folded)?;
        let svg = if folded.is_empty() { Vec::new() } else { flame::draw(&folded, title, &self.subtitle(lost))? };
        drop(folded);
        for chunk in svg.chunks(CHUNK) {
            self.tell(&ToAgent::Svg(chunk.to_vec()))?;
        }
        self.tell(&ToAgent::Done(self.counts))
    }

    fn send_folded(&self, folded: &str) -> io::Result<()> {
        for chunk in folded.as_bytes().chunks(CHUNK) {
            self.tell(&ToAgent::Folded(chunk.to_vec()))?;
        }
        self.tell(&ToAgent::Whole(self.counts))
    }

    fn subtitle(&self, lost: u64) -> String {
        let Counts { samples, truncated, unmapped, overflow, files_dropped, malformed, .. } = self.counts;
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

    fn report(&mut self) -> io::Result<()> {
        let now = self.now_ns();
        if now - self.told_ns < PROGRESS_NS || self.told == self.counts {
            return Ok(());
        }
        (self.told_ns, self.told) = (now, self.counts);
        self.tell(&ToAgent::Progress(self.counts))
    }

    fn tell(&self, frame: &ToAgent) -> io::Result<()> {
        send(self.socket, &frame.encode().map_err(io::Error::other)?, &[], true)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
